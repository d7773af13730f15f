-- KEYS: 7 lock. ARGV: 3 token
local l = redis.call('HMGET', KEYS[7], 'token', 'again')
if l[1] ~= ARGV[3] then return {'STALE', 'the lock is no longer held'} end
redis.call('DEL', KEYS[7])
return {'OK', l[2] and 1 or 0}
