--@ use account
-- ARGV: 3 account 4 "1" active, "0" not, "" unknown 5 nonce of the move, then for each of meta, index, tail,
-- sets, states, marks, vanished, digests: the number of its words, and they.
if ix.gone then return {'GONE'} end
if redis.call('HGET', KEYS[1], 'came') == ARGV[5] then
  if ix.moved then return {'STALE', 'the move was overtaken'} end
  return {'OK'}
end
local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8], KEYS[11]}
local at = 6
for _, k in ipairs(keys) do
  redis.call('UNLINK', k)
  local n = tonumber(ARGV[at])
  for i = at + 1, at + n, 2 do redis.call('HSET', k, ARGV[i], ARGV[i + 1]) end
  at = at + n + 1
end
redis.call('HDEL', KEYS[1], 'moved', 'move', 'active')
redis.call('HSET', KEYS[1], 'came', ARGV[5])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[9], ARGV[3], ARGV[4]) end
return {'OK'}
