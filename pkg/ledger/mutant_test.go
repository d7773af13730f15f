//go:build mutants

package ledger

import (
	"strings"
	"testing"
)

// A mutant is scripts with one promise broken. The rule of that name must notice it, and the model where none
// is named.
type mutant struct{ name, rule, old, new string }

var mutants = []mutant{
	{"a write without the lock's token", "", "if l[1] ~= ARGV[3] or tonumber(l[2] or 0) <= now then return {'STALE', 'the lock is no longer held'} end", ""},
	{"a lock that does not exclude", "", "if l[1] and left > 0 then", "if false then"},
	{"a release of another's lock", "", "if l[1] ~= ARGV[3] then return {'STALE', 'the lock is no longer held'} end", ""},
	{"a mark on what is collected", "", "if was == 'c' then return 'collected' end", ""},
	{"a mark that forgets who was served", "", "old.size, old.listed = size, listed", "old.size, old.listed, old.blob = size, listed, ''"},
	{"a lease under a lease", "", "if old.till > now and old.by ~= token then return {'BUSY', old.till - now} end", ""},
	{"a copy of what is collected", "", "  if lookup(ix, raw) then return {'REPEAT'} end\n", ""},
	{"a copy of what left the index", "", "  if kind and holds then return {'REPEAT'} end\n", "  if kind and kind ~= 'g' and holds then return {'REPEAT'} end\n"},
	{"a copy of an earlier message", "", "  if old.epoch == ix.epoch and other(old, listed) then return {'REPEAT'} end\n", ""},
	{"a commit under another epoch", "", "if ix.epoch ~= epoch then", "if false then"},
	{"a commit that writes nothing", "", "    put(ix, raw, value(folded))\n    return 1\n", "    return 1\n"},
	{"a commit that keeps the mark", "", "    unmark(raw)\n    put(ix, raw", "    put(ix, raw"},
	{"a deferral that forgets who was served", "", "string.format('d %.0f %s\\n', till, m.listed) .. m.blob", "string.format('d %.0f %s\\n', till, m.listed)"},
	{"a record that keeps nothing", "", "m.till, m.blob = now + ARGV[5], ARGV[6]", "m.till = now + ARGV[5]"},
	{"a deletion that nobody else agreed to", "", "  for _, a in ipairs(all) do\n    if not has", "  for _, a in ipairs({ix}) do\n    if not has"},
	{"a deletion that does not ask the index", "", "  if was ~= 'c' then return false end\n", ""},
	{"a commit that is not written", "", "    redis.call('HSET', ix.tail, unpack(puts))\n", ""},
	{"a lease that is not written", "", "end\nif #new > 0 then redis.call('HSET', KEYS[6], unpack(new)) end\nreturn out", "end\nreturn out"},
	{"a fold that loses the tail", "", "    redis.call('HSET', ix.index, b, (redis.call('HGET', ix.index, b) or '') .. s)\n", ""},
	{"a fold that loses what was put", "a fold keeps what was put last", "fresh[t[i]] = fresh[t[i]] or t[i + 1] end", "fresh[t[i]] = t[i + 1] end"},
	{"a fold that loses a set", "", "s = insert(s, p, uids[from], uid)\n", ""},
	{"a deleting key that is never forgotten", "", "F = function(raw, kind) if kind == 'x' then leave(raw) end end", "F = function() end"},
	{"a reset that keeps the index", "", "redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[8], KEYS[11])\n", ""},
	{"a move that leaves no signpost", "", "redis.call('HSET', KEYS[1], 'moved', ARGV[3], 'move', ARGV[4], 'came', had[2] or '')", ""},
	{"a move without the marks", "", "local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8], KEYS[11]}\nlocal at", "local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[8], KEYS[8], KEYS[11]}\nlocal at"},
	{"a digest that is not kept", "digests are kept in a ring", "if wrote == 1 then keep(ARGV[i + 5], ARGV[i + 3]) end", ""},
	{"digests without an end", "digests are kept in a ring", "redis.call('HDEL', KEYS[7], chunk - ARGV[3])", ""},
	{"a digest kept for each repeat", "digests are kept in a ring", "if wrote == 1 then keep", "if true then keep"},
	{"digests that are whole though one lacks", "digests are known to be whole", "    redis.call('HDEL', KEYS[7], 'whole')\n", ""},
	{"a reset after which digests are not whole", "digests are known to be whole", "redis.call('HSET', KEYS[11], 'whole', 1)\nredis.call('HSET', KEYS[1], 'epoch'", "redis.call('HSET', KEYS[1], 'epoch'"},
	{"a confirmation that is forgotten", "what we deleted ourselves is no storm", "redis.call('HSET', KEYS[1], 'confirmed', 1)", ""},
	{"a confirmation that stays", "what we deleted ourselves is no storm", "redis.call('HDEL', KEYS[1], 'confirmed')\n", ""},
	{"a doubt that leaves a deletion", "what is doubted is never deleted", "    if state(raw) == 'x' then redis.call('HDEL', KEYS[5], raw) end\n", ""},
	{"a doubt that is not kept", "what is doubted is never deleted", "  if #raw == 7 and was == 'c' then\n    put(ix, raw, value(ARGV[i + 1], true), where)", "  if #raw == 7 and was == 'c' then"},
	{"a storm that is not remembered", "a storm is remembered", "redis.call('HINCRBY', KEYS[1], 'storm', 1)", "1"},
	{"a storm that does not end", "a storm is remembered", "redis.call('HDEL', KEYS[1], 'storm')", ""},
	{"runs that came through and count", "a storm is remembered", "redis.call('HSET', KEYS[1], 'storm', 0)", ""},
	{"a match of what is in flight", "match takes over", "elseif not was and kind ~= 'p' and redis.call('HEXISTS', KEYS[6], raw) == 0 then", "elseif not was and kind ~= 'p' then"},
	{"a match of what is parked", "match takes over", "elseif not was and kind ~= 'p' and", "elseif not was and"},
	{"a match that makes old messages young", "match takes over", "struct.pack('>I2', folded) .. string.sub(v, 3)", "value(folded)"},
	{"a match in the UID sets of another UIDVALIDITY", "match takes over", "  local raw, folded = ARGV[i], ARGV[i + 1]\n  if #raw == 12 then open_set(raw) end\n", "  local raw, folded = ARGV[i], ARGV[i + 1]\n"},
	{"a retry of what is not parked", "dead letters are tried again", "if kind ~= 'p' or not ix.epoch then return {'OK', 'not-parked'} end", "if not ix.epoch then return {'OK', 'not-parked'} end"},
	{"a resumption of what is parked", "a run need not wait for what is deferred", "if kind == 'd' then redis.call('HSET', KEYS[5], ARGV[i], deferred(ended, now)) end", "redis.call('HDEL', KEYS[5], ARGV[i])"},
	{"a resumption that leaves the pause", "a run need not wait for what is deferred", "redis.call('HDEL', KEYS[1], 'pause')\n", ""},
	{"a mark over one that changed", "a mark is refused if it changed", "if text ~= seen then return 'changed' end", ""},
	{"a mark over a live lease", "a mark is refused under a live lease", "  elseif old.till > now then\n    return 'leased'\n", "  elseif false then\n"},
	{"a mark on what is parked", "a mark is refused for what is not new", "if kind == 'p' then return 'parked' end", ""},
	{"a copy of what is parked", "take drops repeats", "  if kind and holds then return {'REPEAT'} end\n", "  if kind and kind ~= 'p' and holds then return {'REPEAT'} end\n"},
	{"a lease taken from under its holder", "a lease is for one", "if not m or m.by ~= ARGV[3] or m.till == 0 then return nil, {'LOST'} end", "if not m then return nil, {'LOST'} end"},
	{"a commit that needs a mark", "commit needs nothing", "put(ix, raw, value(folded), where)\n  if kind", "if kind"},
	{"a commit that takes another message's mark", "commit leaves another message alone", "if m and m.epoch == ix.epoch and m.by ~= token and other(m, listed) then return 0 end", ""},
	{"a notice that makes its message collected", "pass skips as commit collects", "put(ix, raw, value(ARGV[6], true))", "put(ix, raw, value(ARGV[6]))"},
	{"a notice that takes another message's mark", "pass skips as commit collects", "if m and m.epoch == ix.epoch and m.by ~= token and other(m, listed) then return {'OK', 0} end", ""},
	{"a notice of what was collected meanwhile", "pass skips as commit collects", "  if lookup(ix, raw) then return {'OK', 0} end\n", ""},
	{"a notice under another epoch", "pass skips as commit collects", "if ix.epoch ~= ARGV[5] then", "if false then"},
	{"a mark that inherits of another message", "served recipients are of one message", "old.epoch == epoch and not other(old, listed)", "old.epoch == epoch"},
	{"a deletion by an account that is not enrolled", "doom asks the enrolled", "if active[i + 1] ~= '1' then return {'ENROLL'} end", ""},
	{"a short listing that empties the index", "a vanished key leaves slowly", "return listing - first >= ARGV[7] - 1 and now - since * 1000 >= tonumber(ARGV[6])", "return true"},
	{"a mark that counts no attempts", "attempts are counted", "m.attempts, m.by, m.till = m.attempts + 1, ARGV[5], 0", "m.by, m.till = ARGV[5], 0"},
	{"an unmark that keeps the attempt", "unmark gives back", "math.max(m.attempts - 1, 0)", "m.attempts"},
	{"an unmark under a lease", "unmark gives back", "if m and m.till <= now and m.by ~= ARGV[5] then", "if m then"},
	{"a skip of what is in flight", "skip passes over what is new", "and redis.call('HEXISTS', KEYS[6], raw) == 0", ""},
	{"deliveries that die and do not count", "deliveries that die are counted", "m.takes = m.takes + 1", "m.takes = 1"},
	{"an unpark that forgets who was served", "served recipients survive", "if ended.blob == '' then", "if true then"},
	{"a commit under another UIDVALIDITY", "commit writes its own UIDVALIDITY", "  if h[1] ~= validity then return nil end\n", ""},
	{"a deletion of another's message", "doom asks every active account", "return a == ix or #raw == 12 or size == 0 or struct.unpack('>I2', v) == size", "return true"},
	{"another size that is not noticed", "a deleting key of another size is new", "N = function(raw, kind) if kind == 'x' then leave(raw) end end", "N = function() end"},
	{"a reset in the middle of a move", "a move that broke off waits", "{ix.epoch and 'MOVING' or 'MOVED', ix.moved}", "{'MOVED', ix.moved}"},
	{"a tombstone that does not hold", "an erased account is gone", "  if ix.gone then return {'GONE'} end\n", ""},
	{"another installation key", "another installation key is refused", "  if ix.key and ix.key ~= ARGV[2] then return {'KEY', ix.key} end\nend", "end"},
	{"a test that has a run repeat", "a test only looks", "if same and not test then", "if same then"},
	{"a test that queues", "a test only looks", "if not same and not test then wait() end", "if not same then wait() end"},
	{"a test that swallows a run", "a test only looks", "test and 'test' or account", "account"},
	{"a test that counts a start", "a test only looks", "if test then return snapshot() end\n", ""},
	{"a watcher that is told nothing", "a watcher yields", "redis.call('HSET', KEYS[7], 'yield', 1)", ""},
	{"a watch over a run that was asked for", "a watcher yields", "if redis.call('HEXISTS', KEYS[7], 'again') == 1 then return {'OK', 0} end", ""},
	{"a mark in a quiet mailbox", "what is new is not quiet", "      redis.call('HDEL', KEYS[4], 'quiet' .. box)\n", ""},
	{"a record of quiet that is made young", "a mailbox is known to be quiet", "ARGV[i + 2] == '0' and math.floor(now / 1000) or ARGV[i + 2]", "math.floor(now / 1000)"},
	{"an unpark in a quiet mailbox", "what is new is not quiet", "if #ARGV[3] == 12 then redis.call('HDEL', KEYS[4], 'quiet' .. string.sub(ARGV[3], 1, 4)) end\n", ""},
	{"starts that are not counted", "starts are counted", "redis.call('HINCRBY', KEYS[1], 'starts', 1)", "redis.call('HSET', KEYS[1], 'starts', 1)"},
	{"waiters in no order", "the account that waits longest is next", "if first and first ~= account then", "if false then"},
	{"a waiter that waits for ever", "the account that waits longest is next", "if not z[1] or alive(tonumber(z[2])) then return z[1] end", "if true then return z[1] end"},
	{"again that is not set", "a run of the same account sets again", "redis.call('HSET', KEYS[7], 'again', 1)", ""},
	{"a lock inherited with its flags", "a lock run out takes its flag along", "redis.call('DEL', KEYS[7])\nredis.call('HSET', KEYS[7], 'token'", "redis.call('HSET', KEYS[7], 'token'"},
	{"a take that counts twice when sent twice", "scripts may be sent twice", "if not (old and old.by == token) then m.takes = m.takes + 1 end", "m.takes = m.takes + 1"},
	{"a mark that counts twice when sent twice", "scripts may be sent twice", "  if old and old.by == ARGV[5] then return 'marked' end\n", ""},
}

// TestModelCatches breaks one promise after the other and sees the model or the rule fail.
func TestModelCatches(t *testing.T) {
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{MaxAttempts: 3})
			h.mutate(m.old, m.new)
			err := m.play(h)
			if err == nil {
				t.Fatal("not noticed")
			}
			line, _, _ := strings.Cut(err.Error(), "\n")
			t.Logf("noticed: %s", line)
		})
	}
}

// play runs what must notice the mutant.
func (m mutant) play(h *house) error {
	if m.rule == "" {
		_, err := explore(h, 1, 150_000, make(map[string]int))
		return err
	}
	r, ok := rules[m.rule]
	if !ok {
		h.t.Fatalf("no rule %q", m.rule)
	}
	return r(h)
}
