--@ use clock account snapshot
-- ARGV: 3 account 4 the other slot 5 nonce 6 life of a signpost, ms 7 and 8 the move as the caller knows it
if ix.gone then return {'GONE'} end
if ix.key and ix.key ~= ARGV[2] then return {'KEY', ix.key} end
local move = redis.call('HGET', KEYS[1], 'move') or ''
if ix.moved ~= ARGV[4] or move ~= ARGV[8] and move ~= ARGV[5] then
  if (ix.moved or '') ~= ARGV[7] or move ~= ARGV[8] then return {'STALE', 'the move was overtaken'} end
  redis.call('HSET', KEYS[1], 'moved', ARGV[4], 'move', ARGV[5])
  redis.call('HDEL', KEYS[1], 'job', 'starts')
end
local active = redis.call('HGET', KEYS[9], ARGV[3])
if active then redis.call('HSET', KEYS[1], 'active', active) end
redis.call('HDEL', KEYS[9], ARGV[3])
redis.call('ZREM', KEYS[10], ARGV[3])
if not ix.epoch then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
local all = snapshot()
all[#all + 1] = redis.call('HGETALL', KEYS[11])
return all
