--@ use clock account mark
-- ARGV: 3 raw
local shut = closed()
if shut then return shut end
if state(ARGV[3]) ~= 'p' then return {'OK', 0} end
redis.call('HDEL', KEYS[5], ARGV[3])
return {'OK', 1}
