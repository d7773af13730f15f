--@ use clock account uidset index mark
-- ARGV: 3 lease token 4 lease ms 5 most takes 6 raw 7 size 8 listed
local shut = closed()
if shut then return shut end
if not ix.epoch then return {'NO-EPOCH'} end
local raw = ARGV[6]
local old = parse(redis.call('HGET', KEYS[6], raw))
local kind, holds, ended
if old then
  if old.till > now and old.by ~= ARGV[3] then return {'BUSY', old.till - now} end
  if old.epoch == ix.epoch and other(old, ARGV[8]) then return {'REPEAT'} end
else
  if lookup(ix, raw) then return {'REPEAT'} end
  kind, holds, ended = state(raw)
  if kind and holds then return {'REPEAT'} end
end
local m = begin(ix.epoch, ARGV[7], ARGV[8], old, kind, ended)
if not (old and old.by == ARGV[3]) then m.takes = m.takes + 1 end
m.by, m.till = ARGV[3], now + ARGV[4]
redis.call('HSET', KEYS[6], raw, format(m))
if kind == 'd' then redis.call('HDEL', KEYS[5], raw) end
return {'OK', m.epoch, m.takes, m.takes > tonumber(ARGV[5]) and 1 or 0, m.blob}
