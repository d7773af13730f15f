--@ use clock account uidset index mark
-- ARGV: 3 lease token 4 raw 5 epoch of the lease 6 folded size
if ix.gone then return {'OK', 0} end
local shut = closed()
if shut then return shut end
local raw = ARGV[4]
if ix.epoch ~= ARGV[5] then
  local m = parse(redis.call('HGET', KEYS[6], raw))
  if m and m.by == ARGV[3] then redis.call('HDEL', KEYS[6], raw) end
  return {'OK', 0}
end
local had = redis.call('HDEL', KEYS[6], raw)
local was, where = lookup(ix, raw)
if was == 'c' then return {'OK', 0} end
local kind, holds = state(raw)
if kind == 'g' and holds and had == 0 then return {'OK', 0} end
put(ix, raw, value(ARGV[6]), where)
if kind then redis.call('HDEL', KEYS[5], raw) end
return {'OK', 1}
