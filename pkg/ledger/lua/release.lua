--@ use clock account guard
-- ARGV: 3 token 4 epoch 5 "1": the run came to its end 6 "1": what was doomed is gone
local l = redis.call('HMGET', KEYS[7], 'token', 'again')
if l[1] ~= ARGV[3] then return {'STALE', 'the lock is no longer held'} end
if not stale() then
  if ARGV[5] == '1' then redis.call('HDEL', KEYS[1], 'job', 'starts') end
  if ARGV[6] == '1' then redis.call('HSET', KEYS[1], 'confirmed', 1) end
end
redis.call('DEL', KEYS[7])
return {'OK', l[2] and 1 or 0}
