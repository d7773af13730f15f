-- KEYS: 1 meta 2 accounts, repeated. ARGV: 1 account 2 whether it is active, 1 or 0, repeated. Of an account that was erased
-- nothing is written: a change of it that is told of late keeps nobody waiting. It is short, for it is called for each account
-- when Redis was lost.
for i = 1, #KEYS, 2 do
  if redis.call('HEXISTS', KEYS[i], 'gone') == 0 then redis.call('HSET', KEYS[i + 1], ARGV[i], ARGV[i + 1]) end
end
return {'OK'}
