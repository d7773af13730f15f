--@ use clock account mark lease
local m, no = leased()
if no then return no end
redis.call('HDEL', KEYS[6], ARGV[4])
if m.epoch == ix.epoch then
  redis.call('HSET', KEYS[5], ARGV[4], parked(m))
end
return {'OK'}
