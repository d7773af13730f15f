--@ use clock account guard
-- ARGV: 3 token 4 epoch
local no = stale()
if no then return no end
redis.call('HDEL', KEYS[1], 'job', 'starts')
return {'OK'}
