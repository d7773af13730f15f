--@ use clock account
-- ARGV: 3 for how long, ms 4 what Go reads of it. An account without an index has no run to stop.
local shut = closed()
if shut then return shut end
if ix.epoch then redis.call('HSET', KEYS[1], 'pause', string.format('%.0f %s', now + ARGV[3], ARGV[4])) end
return {'OK'}
