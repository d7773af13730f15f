--@ use clock account mark lease
-- ARGV: 5 lease ms
local m, no = leased()
if no then return no end
m.till = now + ARGV[5]
redis.call('HSET', KEYS[6], ARGV[4], format(m))
return {'OK'}
