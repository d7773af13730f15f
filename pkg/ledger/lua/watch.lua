--@ use clock account guard
-- ARGV: 3 token 4 epoch 5 "1": what was doomed is gone. The run came to its end, and its lock becomes one of kind push; not where another run was
-- asked for meanwhile.
local no = stale()
if no then return no end
if redis.call('HEXISTS', KEYS[7], 'again') == 1 then return {'OK', 0} end
redis.call('HDEL', KEYS[1], 'job', 'starts')
if ARGV[5] == '1' then redis.call('HSET', KEYS[1], 'confirmed', 1) end
redis.call('HSET', KEYS[7], 'kind', 'push', 'job', '', 'since', now)
return {'OK', 1}
