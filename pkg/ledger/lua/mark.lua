--@ use clock account uidset index mark guard
-- ARGV: 3 token 4 epoch 5 nonce 6 most attempts, then for each key: raw, size, listed, the mark as read
local no = stale()
if no then return no end

-- What the batch needs is read at once: the whole tail, and the marks and states of its keys.
local raws = {}
for i = 7, #ARGV, 4 do raws[#raws + 1] = ARGV[i] end
local marks = redis.call('HMGET', KEYS[6], unpack(raws))
local states = redis.call('HMGET', KEYS[5], unpack(raws))
local tail = redis.call('HGETALL', KEYS[3])
ix.recent = {}
for i = 1, #tail, 2 do ix.recent[tail[i]] = tail[i + 1] end

-- refused says why a key may not be fetched, or nil.
local function refused(raw, text, old, kind, holds, seen)
  if not old then
    local was = lookup(ix, raw)
    if was == 'c' then return 'collected' end
    if was == 's' then return 'skipped' end
    if kind == 'p' then return 'parked' end
    if kind == 'd' and holds then return 'deferred' end
  elseif old.till > now then
    return 'leased'
  end
  if text ~= seen then return 'changed' end
end

local new = {} -- marks, as HSET takes them
local most = tonumber(ARGV[6])
local box -- whose record of being quiet was dropped last

local function mark(at, raw, size, listed, seen)
  if #raw == 12 then
    open_set(raw)
    if string.sub(raw, 1, 4) ~= box then
      box = string.sub(raw, 1, 4)
      redis.call('HDEL', KEYS[4], 'quiet' .. box)
    end
  end
  local old = parse(marks[at])
  if old and old.by == ARGV[5] then return 'marked' end
  local kind, holds, ended = state_of(states[at])
  local no = refused(raw, marks[at] or '', old, kind, holds, seen)
  if no then return no end
  local m = begin(ARGV[4], size, listed, old, kind, ended)
  m.attempts, m.by, m.till = m.attempts + 1, ARGV[5], 0
  if m.attempts > most then
    redis.call('HSET', KEYS[5], raw, parked(m))
    redis.call('HDEL', KEYS[6], raw)
    return 'too-many'
  end
  new[#new + 1] = raw
  new[#new + 1] = format(m)
  if kind == 'd' then redis.call('HDEL', KEYS[5], raw) end
  return 'marked'
end

local out = {'OK'}
for i = 7, #ARGV, 4 do
  out[#out + 1] = mark(#out, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
if #new > 0 then redis.call('HSET', KEYS[6], unpack(new)) end
return out
