--@ use clock
-- KEYS: 1 what was fetched of an account today (UTC). ARGV: 3 messages 4 octets that are added.
-- A clock that goes back stays in the day that it was in.
local DAY = 86400000
local today = math.floor(now / DAY)
local was = tonumber(redis.call('HGET', KEYS[1], 'day') or nil)
if was and was >= today then
  today = was
elseif was then
  redis.call('DEL', KEYS[1])
end
if ARGV[3] ~= '0' or ARGV[4] ~= '0' then
  redis.call('HSET', KEYS[1], 'day', string.format('%.0f', today))
  redis.call('HINCRBY', KEYS[1], 'messages', ARGV[3])
  redis.call('HINCRBY', KEYS[1], 'octets', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], 2 * DAY)
end
local n = redis.call('HMGET', KEYS[1], 'messages', 'octets')
return {'OK', tonumber(n[1] or 0), tonumber(n[2] or 0), (today + 1) * DAY}
