--@ use clock account guard
-- ARGV: 3 token 4 the epoch the run knows, "" 5 the epoch to open
if ix.epoch == ARGV[5] then ARGV[4] = ARGV[5] end
local no = stale()
if no then return no end
if ix.epoch ~= ARGV[5] then redis.call('HSET', KEYS[11], 'whole', 1) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[5], 'key', ARGV[2])
return {'OK'}
