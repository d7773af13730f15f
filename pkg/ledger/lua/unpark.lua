--@ use clock account mark
-- ARGV: 3 raw. Recipients that were served stay known: the key is deferred until now.
local shut = closed()
if shut then return shut end
local kind, _, ended = state(ARGV[3])
if kind ~= 'p' then return {'OK', 0} end
if #ARGV[3] == 12 then redis.call('HDEL', KEYS[4], 'quiet' .. string.sub(ARGV[3], 1, 4)) end
if ended.blob == '' then
  redis.call('HDEL', KEYS[5], ARGV[3])
else
  redis.call('HSET', KEYS[5], ARGV[3], deferred(ended, now))
end
return {'OK', 1}
