//go:build mutants

package ledger

import (
	"strings"
	"testing"
)

// mutants are scripts with one promise broken each; the model must notice every one of them.
var mutants = []struct{ name, old, new string }{
	{"a write without the lock's token", "if l[1] ~= ARGV[3] or tonumber(l[2] or 0) <= now then return {'STALE', 'the lock is no longer held'} end", ""},
	{"a lock that does not exclude", "if l[1] and left > 0 then", "if false then"},
	{"a release of another's lock", "if l[1] ~= ARGV[3] then return {'STALE', 'the lock is no longer held'} end", ""},
	{"a mark over one that changed", "if text ~= seen then return 'changed' end", ""},
	{"a mark over a live lease", "  elseif old.till > now then\n    return 'leased'\n", "  elseif false then\n"},
	{"a mark on what is collected", "if was == 'c' then return 'collected' end", ""},
	{"a mark on what is parked", "if kind == 'p' then return 'parked' end", ""},
	{"a mark that forgets who was served", "m.attempts, m.takes, m.blob = old.attempts, old.takes, old.blob", "m.attempts = old.attempts"},
	{"a lease under a lease", "if old.till > now and old.by ~= ARGV[3] then return {'BUSY', old.till - now} end", ""},
	{"a copy of what is collected", "  if lookup(ix, raw) then return {'REPEAT'} end\n", ""},
	{"a copy of what is parked", "  if kind and holds then return {'REPEAT'} end\n", "  if kind and kind ~= 'p' and holds then return {'REPEAT'} end\n"},
	{"a copy of what left the index", "  if kind and holds then return {'REPEAT'} end\n", "  if kind and kind ~= 'g' and holds then return {'REPEAT'} end\n"},
	{"a copy of an earlier message", "  if old.epoch == ix.epoch and other(old, ARGV[8]) then return {'REPEAT'} end\n", ""},
	{"a lease taken from under its holder", "if not m or m.by ~= ARGV[3] or m.till == 0 then return nil, {'LOST'} end", "if not m then return nil, {'LOST'} end"},
	{"a commit under another epoch", "if ix.epoch ~= ARGV[5] then", "if false then"},
	{"a commit that writes nothing", "  put(ix, raw, value(ARGV[6]))\n  return {'OK', 1}\n", "  return {'OK', 1}\n"},
	{"a commit that keeps the mark", "  redis.call('HDEL', KEYS[6], raw)\n  put(ix, raw", "  put(ix, raw"},
	{"a commit that needs a mark", "put(ix, raw, value(ARGV[6]), where)\nif kind", "if kind"},
	{"a commit that takes another message's mark", "if m and m.epoch == ix.epoch and m.by ~= ARGV[3] and other(m, ARGV[7]) then return {'OK', 0} end", ""},
	{"a mark that inherits of another message", "old.epoch == epoch and not other(old, listed)", "old.epoch == epoch"},
	{"a deferral that forgets who was served", "string.format('d %.0f %s\\n', till, m.listed) .. m.blob", "string.format('d %.0f %s\\n', till, m.listed)"},
	{"a record that keeps nothing", "m.till, m.blob = now + ARGV[5], ARGV[6]", "m.till = now + ARGV[5]"},
	{"a deletion that nobody else agreed to", "  for _, a in ipairs(all) do\n    if not has", "  for _, a in ipairs({ix}) do\n    if not has"},
	{"a deletion that does not ask the index", "  if was ~= 'c' then return false end\n", ""},
	{"a deletion by an account that is not enrolled", "if active[i + 1] ~= '1' then return {'ENROLL'} end", ""},
	{"a fold that loses the tail", "    redis.call('HSET', ix.index, b, (redis.call('HGET', ix.index, b) or '') .. s)\n", ""},
	{"a fold that loses a set", "redis.call('HSET', ix.sets, e.color .. e.box, insert(s, p, e.uid))", ""},
	{"a deleting key that is never forgotten", "F = function(raw, kind) if kind == 'x' then leave(raw) end end", "F = function() end"},
	{"a reset that keeps the index", "redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[8])\n", ""},
	{"a move that leaves no signpost", "redis.call('HSET', KEYS[1], 'moved', ARGV[3], 'move', ARGV[4], 'came', had[2] or '')", ""},
	{"a move without the marks", "local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8]}\nlocal at", "local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[8], KEYS[8]}\nlocal at"},
	{"a short listing that empties the index", "return listing - first >= ARGV[7] - 1 and now - since * 1000 >= tonumber(ARGV[6])", "return true"},
	{"a retry of what is not parked", "if kind ~= 'p' or not ix.epoch then return {'OK', 'not-parked'} end", "if not ix.epoch then return {'OK', 'not-parked'} end"},
}

// TestModelCatches breaks one promise after the other and sees the model fail.
func TestModelCatches(t *testing.T) {
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{})
			h.mutate(m.old, m.new)
			steps, err := explore(h, 1, 150_000, make(map[string]int))
			if err == nil {
				t.Fatalf("not noticed in %d steps", steps)
			}
			line, _, _ := strings.Cut(err.Error(), "\n")
			t.Logf("noticed after %d steps: %s", steps, line)
		})
	}
}
