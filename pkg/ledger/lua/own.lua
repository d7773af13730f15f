--@ use clock account mark lease
-- KEYS: 7 doubles. ARGV: 3 lease token 4 raw 5 digest 6 window, ms. See claim.lua.
local m, no = leased()
if no then return no end
redis.call('HSET', KEYS[7], ARGV[5], string.format('d %s %.0f\n', ix.epoch, now + ARGV[6]) .. ARGV[4])
redis.call('PEXPIRE', KEYS[7], ARGV[6])
return {'OK'}
