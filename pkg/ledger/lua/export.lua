--@ use clock account snapshot
-- ARGV: 3 account 4 the other slot 5 nonce 6 life of the signpost, ms
if ix.gone then return {'GONE'} end
if ix.moved and ix.moved ~= ARGV[4] then return {'MOVED', ix.moved} end
if ix.key and ix.key ~= ARGV[2] then return {'KEY', ix.key} end
local active = redis.call('HGET', KEYS[9], ARGV[3]) or ''
if not ix.moved then
  redis.call('HSET', KEYS[1], 'moved', ARGV[4], 'move', ARGV[5], 'active', active)
  redis.call('HDEL', KEYS[1], 'job', 'starts')
end
redis.call('HDEL', KEYS[9], ARGV[3])
redis.call('ZREM', KEYS[10], ARGV[3])
if not ix.epoch then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
return snapshot()
