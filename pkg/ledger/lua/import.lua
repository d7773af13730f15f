--@ use account
-- ARGV: 3 account 4 "1" active, "0" not, "" unknown 5 nonce of the move, "" if there is nothing to bring
-- 6 the slot it comes from, then for each of meta, index, tail, sets, states, marks, vanished: the number
-- of its words, and they.
if ix.gone then return {'GONE'} end
local here = redis.call('HGET', KEYS[1], 'move')
if ARGV[5] == '' then
  if ix.moved and ix.moved ~= ARGV[6] then return {'MOVED', ix.moved} end
  if ix.moved then
    redis.call('HDEL', KEYS[1], 'moved', 'move', 'active')
    redis.call('PERSIST', KEYS[1])
  end
elseif here ~= ARGV[5] or ix.moved then
  local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8]}
  local at = 7
  for _, k in ipairs(keys) do
    redis.call('UNLINK', k)
    local n = tonumber(ARGV[at])
    for i = at + 1, at + n, 2 do redis.call('HSET', k, ARGV[i], ARGV[i + 1]) end
    at = at + n + 1
  end
  redis.call('HDEL', KEYS[1], 'moved', 'active')
  redis.call('HSET', KEYS[1], 'move', ARGV[5])
end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[9], ARGV[3], ARGV[4]) end
return {'OK'}
