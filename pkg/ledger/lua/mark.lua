--@ use clock account uidset index mark guard
-- ARGV: 3 token 4 epoch 5 nonce 6 most attempts, then for each key: raw, size, listed, the mark as read
local no = stale()
if no then return no end

-- open_set makes the UIDVALIDITY of the session the set's: another one is another set.
local opened = {}
local function open_set(raw)
  local box = string.sub(raw, 1, 8)
  if opened[box] then return end
  opened[box] = true
  local name, validity = string.sub(raw, 1, 4), struct.unpack('>I4', raw, 5)
  if not set(ix, 'c' .. name, validity) then
    redis.call('HSET', KEYS[4], 'c' .. name, string.format('%.0f;', validity))
    redis.call('HDEL', KEYS[4], 's' .. name)
  end
end

local function fresh(size, listed)
  return {epoch = ARGV[4], size = size, listed = listed, attempts = 0, takes = 0, blob = ''}
end

local function mark(raw, size, listed, seen)
  if #raw == 12 then open_set(raw) end
  local was = lookup(ix, raw)
  if was == 'c' then return 'collected' end
  if was == 's' then return 'skipped' end
  local kind, holds, blob = state(raw)
  if kind == 'p' then return 'parked' end
  if kind == 'd' and holds then return 'deferred' end
  local text = redis.call('HGET', KEYS[6], raw) or ''
  local old = parse(text)
  if old and old.by == ARGV[5] then return 'marked' end
  if old and old.till > now then return 'leased' end
  if text ~= seen then return 'changed' end
  local m = fresh(size, listed)
  if old and old.epoch == ARGV[4] then
    m.attempts, m.takes, m.blob = old.attempts, old.takes, old.blob
  elseif kind == 'd' then
    m.blob = blob
  end
  m.attempts, m.by, m.till = m.attempts + 1, ARGV[5], 0
  if m.attempts > tonumber(ARGV[6]) then
    redis.call('HSET', KEYS[5], raw, parked(m))
    redis.call('HDEL', KEYS[6], raw)
    return 'too-many'
  end
  redis.call('HSET', KEYS[6], raw, format(m))
  if kind then redis.call('HDEL', KEYS[5], raw) end
  return 'marked'
end

local out = {'OK'}
for i = 7, #ARGV, 4 do
  out[#out + 1] = mark(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
return out
