--@ use account
-- ARGV: 3 the other slot 4 nonce of the move 5 life of the signpost, ms
local had = redis.call('HMGET', KEYS[1], 'move', 'came')
if ix.moved ~= ARGV[3] or had[1] ~= ARGV[4] then return {'STALE', 'the move was overtaken'} end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8], KEYS[11], KEYS[12])
redis.call('HSET', KEYS[1], 'moved', ARGV[3], 'move', ARGV[4], 'came', had[2] or '')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'OK'}
