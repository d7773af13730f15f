--@ use clock account guard
-- ARGV: 3 token 4 epoch 5 ttl
local no = stale()
if no then return no end
redis.call('HSET', KEYS[7], 'until', now + ARGV[5])
redis.call('PEXPIRE', KEYS[7], ARGV[5])
return {'OK', redis.call('HEXISTS', KEYS[7], 'yield')}
