--@ use clock account mark guard
-- ARGV: 3 token 4 epoch, then raws. The pause ends; what is deferred was so until now, and keeps who was served.
local no = stale()
if no then return no end
redis.call('HDEL', KEYS[1], 'pause')
for i = 5, #ARGV do
  local kind, _, ended = state(ARGV[i])
  if kind == 'd' then redis.call('HSET', KEYS[5], ARGV[i], deferred(ended, now)) end
end
return {'OK'}
