--@ use clock account guard
-- ARGV: 3 token 4 epoch 5 "1" a storm is on, "r" it may go on, "0" it is over, "" no news. Answers how many runs in
-- a row saw a storm and did not come through, and the digests.
local no = stale()
if no then return no end
local storm = 0
if ARGV[5] == '1' then storm = redis.call('HINCRBY', KEYS[1], 'storm', 1) end
if ARGV[5] == 'r' then redis.call('HSET', KEYS[1], 'storm', 0) end
if ARGV[5] == '0' then redis.call('HDEL', KEYS[1], 'storm') end
return {'OK', storm, redis.call('HGETALL', KEYS[11])}
