--@ use clock account
-- ARGV: 3 account 4 life of the tombstone, ms. A signpost is followed once.
local moved = not ix.gone and ix.moved
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8], KEYS[11], KEYS[12])
redis.call('HDEL', KEYS[9], ARGV[3])
redis.call('ZREM', KEYS[10], ARGV[3])
redis.call('HSET', KEYS[1], 'gone', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if moved then return {'MOVED', moved} end
return {'OK'}
