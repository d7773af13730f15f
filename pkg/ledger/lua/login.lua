--@ use clock
-- KEYS: 1 failed logins, by the time of each. ARGV: 3 name of a failure that is added, or "" 4 window, ms 5 most in it
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[5]) then return {'OK', 0} end
return {'OK', redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] + ARGV[4]}
