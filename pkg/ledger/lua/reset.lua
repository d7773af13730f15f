--@ use clock account
-- ARGV: 3 the new epoch. Answers what the index held.
local shut = closed()
if shut then return shut end
if ix.epoch == ARGV[3] then return {'OK'} end
local held = {'OK', ix.entries, ix.skipped, redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4])}
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[8], KEYS[11])
redis.call('HDEL', KEYS[1], 'buckets', 'entries', 'skipped', 'listing', 'storm', 'confirmed')
redis.call('HSET', KEYS[11], 'whole', 1)
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'key', ARGV[2])
return held
