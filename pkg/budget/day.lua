-- KEYS: hash. ARGV: octets that are added. Answers those of the day (UTC), and when it ends (s).
-- A clock that goes back stays in the day that it was in.
local today = math.floor(redis.call('TIME')[1] / 86400)
local was = tonumber(redis.call('HGET', KEYS[1], 'day') or nil)
if was and was >= today then
  today = was
else
  redis.call('DEL', KEYS[1])
end
if ARGV[1] ~= '0' then
  redis.call('HSET', KEYS[1], 'day', string.format('%.0f', today))
  redis.call('HINCRBY', KEYS[1], 'octets', ARGV[1])
  redis.call('EXPIREAT', KEYS[1], (today + 2) * 86400)
end
return {tonumber(redis.call('HGET', KEYS[1], 'octets') or 0), (today + 1) * 86400}
