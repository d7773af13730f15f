--@ use clock account mark lease
local m, no = leased()
if no then return no end
m.till, m.takes = 0, math.max(m.takes - 1, 0)
redis.call('HSET', KEYS[6], ARGV[4], format(m))
return {'OK'}
