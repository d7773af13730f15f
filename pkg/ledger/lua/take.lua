--@ use clock account uidset index mark
-- ARGV: 3 lease ms 4 most takes, then for each message: lease token, raw, size, listed
local shut = closed()
if shut then return shut end
if not ix.epoch then return {'NO-EPOCH'} end

local function take(token, raw, size, listed)
  local old = parse(redis.call('HGET', KEYS[6], raw))
  local kind, holds, ended
  if old then
    if old.till > now and old.by ~= token then return {'BUSY', old.till - now} end
    if old.epoch == ix.epoch and other(old, listed) then return {'REPEAT'} end
  else
    if lookup(ix, raw) then return {'REPEAT'} end
    kind, holds, ended = state(raw)
    if kind and holds then return {'REPEAT'} end
  end
  local m = begin(ix.epoch, size, listed, old, kind, ended)
  if not (old and old.by == token) then m.takes = m.takes + 1 end
  m.by, m.till = token, now + ARGV[3]
  redis.call('HSET', KEYS[6], raw, format(m))
  if kind == 'd' then redis.call('HDEL', KEYS[5], raw) end
  return {'OK', m.epoch, m.takes, m.takes > tonumber(ARGV[4]) and 1 or 0, m.blob}
end

local out = {'OK'}
for i = 5, #ARGV, 4 do out[#out + 1] = take(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
return out
