--@ use clock account mark lease
-- ARGV: 5 lease ms 6 blob
local m, no = leased()
if no then return no end
m.till, m.blob = now + ARGV[5], ARGV[6]
redis.call('HSET', KEYS[6], ARGV[4], format(m))
return {'OK'}
