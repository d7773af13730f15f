--@ use account
-- ARGV: 3 account 4 and 5 the move as the caller knows it: it is called off.
if ix.gone then return {'GONE'} end
if not ix.moved then return {'OK'} end
if ix.moved ~= ARGV[4] or (redis.call('HGET', KEYS[1], 'move') or '') ~= ARGV[5] then
  return {'STALE', 'the move was overtaken'}
end
local active = redis.call('HGET', KEYS[1], 'active')
if active then redis.call('HSET', KEYS[9], ARGV[3], active) end
redis.call('HDEL', KEYS[1], 'moved', 'move', 'active')
redis.call('PERSIST', KEYS[1])
return {'OK'}
