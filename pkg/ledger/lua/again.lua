--@ use clock account guard
-- ARGV: 3 token 4 epoch
local no = stale()
if no then return no end
return {'OK', redis.call('HDEL', KEYS[7], 'again')}
