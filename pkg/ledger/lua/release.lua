--@ use clock account guard
-- ARGV: 3 token 4 epoch 5 "1": the run came to its end
local l = redis.call('HMGET', KEYS[7], 'token', 'again')
if l[1] ~= ARGV[3] then return {'STALE', 'the lock is no longer held'} end
if ARGV[5] == '1' and not stale() then redis.call('HDEL', KEYS[1], 'job', 'starts') end
redis.call('DEL', KEYS[7])
return {'OK', l[2] and 1 or 0}
