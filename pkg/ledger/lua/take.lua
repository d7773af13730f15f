--@ use clock account uidset index mark
-- ARGV: 3 lease ms 4 most takes, then for each message: lease token, raw, size, listed. The answers are followed by the
-- epoch; most are the number of takes alone.
local shut = closed()
if shut then return shut end
if not ix.epoch then return {'NO-EPOCH'} end

-- The marks of the batch are read at once, and written at once; marks is what they are meanwhile.
local raws, marks, new = {}, {}, {}
for i = 5, #ARGV, 4 do raws[#raws + 1] = ARGV[i + 1] end
for i, text in ipairs(redis.call('HMGET', KEYS[6], unpack(raws))) do marks[raws[i]] = text end

local till, most = now + ARGV[3], tonumber(ARGV[4])

local function take(token, raw, size, listed)
  local old = parse(marks[raw])
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
  m.by, m.till = token, till
  marks[raw] = format(m)
  new[#new + 1] = raw
  new[#new + 1] = marks[raw]
  if kind == 'd' then redis.call('HDEL', KEYS[5], raw) end
  local poison = m.takes > most
  if m.blob == '' and not poison then return m.takes end
  return {'OK', m.takes, ix.epoch, poison and 1 or 0, m.blob}
end

local out = {'OK'}
for i = 5, #ARGV, 4 do out[#out + 1] = take(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
out[#out + 1] = ix.epoch
if #new > 0 then redis.call('HSET', KEYS[6], unpack(new)) end
return out
