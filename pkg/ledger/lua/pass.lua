--@ use clock account uidset index mark
-- ARGV: 3 lease token 4 raw 5 epoch of the lease 6 folded size 7 listed. As commit, but the key is skipped.
local shut = not ix.gone and closed()
if shut then return shut end
if ix.gone then return {'OK', 0} end
if not ix.epoch then return {'NO-EPOCH'} end
local token, raw, listed = ARGV[3], ARGV[4], ARGV[7]
local m = parse(redis.call('HGET', KEYS[6], raw))
if ix.epoch ~= ARGV[5] then
  if m and m.by == token then redis.call('HDEL', KEYS[6], raw) end
  return {'OK', 0}
end
if m and m.epoch == ix.epoch and m.by ~= token and other(m, listed) then return {'OK', 0} end
redis.call('HDEL', KEYS[6], raw)
if not m then
  if lookup(ix, raw) then return {'OK', 0} end
  local kind, holds, ended = state(raw)
  if kind == 'g' and holds and ended.listed == ARGV[6] then return {'OK', 0} end
  if kind then redis.call('HDEL', KEYS[5], raw) end
end
put(ix, raw, value(ARGV[6], true))
flush(ix)
return {'OK', 1}
