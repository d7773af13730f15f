--@ use account
-- ARGV: 3 account 4 whether it is active, 1 or 0. Of an account that was erased nothing is written: a change of it
-- that is told of late keeps nobody waiting.
if not ix.gone then redis.call('HSET', KEYS[9], ARGV[3], ARGV[4]) end
return {'OK'}
