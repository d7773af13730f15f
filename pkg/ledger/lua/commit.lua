--@ use clock account uidset index mark
-- ARGV: 3 lease token 4 raw 5 epoch of the lease 6 folded size 7 listed
if ix.gone then return {'OK', 0} end
local shut = closed()
if shut then return shut end
if not ix.epoch then return {'NO-EPOCH'} end
local raw = ARGV[4]
if ix.epoch ~= ARGV[5] then
  local m = parse(redis.call('HGET', KEYS[6], raw))
  if m and m.by == ARGV[3] then redis.call('HDEL', KEYS[6], raw) end
  return {'OK', 0}
end
local text = redis.call('HGET', KEYS[6], raw)
if text then
  local m = parse(text)
  if m and m.epoch == ix.epoch and m.by ~= ARGV[3] and other(m, ARGV[7]) then return {'OK', 0} end
  redis.call('HDEL', KEYS[6], raw)
  put(ix, raw, value(ARGV[6]))
  return {'OK', 1}
end
local was, where = lookup(ix, raw)
if was == 'c' then return {'OK', 0} end
local kind, holds, ended = state(raw)
if kind == 'g' and holds and ended.listed == ARGV[6] then return {'OK', 0} end
put(ix, raw, value(ARGV[6]), where)
if kind then redis.call('HDEL', KEYS[5], raw) end
return {'OK', 1}
