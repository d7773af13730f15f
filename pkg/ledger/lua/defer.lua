--@ use clock account mark lease
-- ARGV: 5 for how long, ms
local m, no = leased()
if no then return no end
redis.call('HDEL', KEYS[6], ARGV[4])
if m.epoch == ix.epoch then
  redis.call('HSET', KEYS[5], ARGV[4], deferred(m, now + ARGV[5]))
end
return {'OK'}
