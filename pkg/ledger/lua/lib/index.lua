-- The UID index of an account. A raw key has 7 bytes (POP3, content) or 12 (IMAP: mailbox, UIDVALIDITY, UID).
-- A value has 4: the folded size, and the day with its top bit set for a skipped key.
local LOAD, TAIL, ENTRY = 128, 128, 11

local function value(size, skipped)
  local day = math.floor(now / 86400000) - 18262
  return struct.pack('>I2I2', size, day % 32768 + (skipped and 32768 or 0))
end

local function color(v)
  if string.byte(v, 3) >= 128 then return 's' end
  return 'c'
end

local function save(ix)
  redis.call('HSET', ix.meta, 'buckets', ix.n, 'entries', ix.entries, 'skipped', ix.skipped)
end

-- power returns the largest power of two that is not above n.
local powered, largest = 0, 0
local function power(n)
  if n ~= powered then
    powered, largest = n, 1
    while largest * 2 <= n do largest = largest * 2 end
  end
  return largest
end

-- bucket is linear hashing: of n buckets, those from power(n) on were split off.
local function bucket(raw, n)
  local x = struct.unpack('>I4', raw, 4)
  local m = power(n)
  local i = x % (m * 2)
  if i >= n then i = x % m end
  return i
end

local function aligned(s, raw)
  local p = 1
  while true do
    p = string.find(s, raw, p, true)
    if not p then return nil end
    if (p - 1) % ENTRY == 0 then return p end
    p = p + 1
  end
end

local function write(ix, i, s)
  if s == '' then redis.call('HDEL', ix.index, i) else redis.call('HSET', ix.index, i, s) end
end

-- split moves the entries of one bucket that belong to the new last one.
local function split(ix)
  local m = power(ix.n)
  local i = ix.n - m
  local s = redis.call('HGET', ix.index, i) or ''
  local stay, go = {}, {}
  for p = 1, #s, ENTRY do
    local x = struct.unpack('>I4', s, p + 3)
    local e = string.sub(s, p, p + ENTRY - 1)
    if x % (m * 2) == ix.n then go[#go + 1] = e else stay[#stay + 1] = e end
  end
  write(ix, i, table.concat(stay))
  write(ix, ix.n, table.concat(go))
  ix.n = ix.n + 1
end

-- join is split backwards.
local function join(ix)
  local last = ix.n - 1
  local s = redis.call('HGET', ix.index, last)
  if s then
    local i = last - power(last)
    write(ix, i, (redis.call('HGET', ix.index, i) or '') .. s)
    redis.call('HDEL', ix.index, last)
  end
  ix.n = last
end

-- read returns a field of the UID sets; a script asks once for it.
local function read(ix, field)
  local s = ix.read[field]
  if s == nil then
    s = redis.call('HGET', ix.sets, field)
    ix.read[field] = s
  end
  return s
end

-- begin_set makes a set of no UIDs.
local function begin_set(ix, field, validity)
  ix.read[field] = string.format('%.0f;', validity)
  redis.call('HSET', ix.sets, field, ix.read[field])
end

-- set returns the UID set of a field under that UIDVALIDITY, and where its first range starts; or nil.
local function set(ix, field, validity)
  local s = read(ix, field)
  if not s then return nil end
  local v, p = string.match(s, '^(%d+);()')
  if tonumber(v) ~= validity then return nil end
  return s, p
end

-- open_set makes the UIDVALIDITY of the session the set's: another one is another set.
local opened = {}
local function open_set(raw)
  local box = string.sub(raw, 1, 8)
  if opened[box] then return end
  opened[box] = true
  local name, validity = string.sub(raw, 1, 4), struct.unpack('>I4', raw, 5)
  if not set(ix, 'c' .. name, validity) then
    begin_set(ix, 'c' .. name, validity)
    redis.call('HDEL', ix.sets, 's' .. name)
    ix.read['s' .. name] = false
  end
end

-- What was put and is not yet in the tail: the values by key, and keys and values as HSET takes them. filled is how many
-- entries the tail has with them.
local fresh, puts, filled = {}, {}, nil

-- flush brings what was put to the tail. A script that puts ends with it.
local function flush(ix)
  if #puts > 0 then redis.call('HSET', ix.tail, unpack(puts)) end
  fresh, puts = {}, {}
end

-- lookup returns 'c', 's' or nil, where it was found, and its value where it has one. A key that has a mark is in no index: whatever
-- writes one looks here first, and whatever puts a key here removes its mark.
local function lookup(ix, raw)
  local v = fresh[raw]
  if not v then
    if ix.recent then v = ix.recent[raw] else v = redis.call('HGET', ix.tail, raw) end
  end
  if v then return color(v), 'tail', v end
  if #raw == 7 then
    if ix.n == 0 then return nil end
    local s = redis.call('HGET', ix.index, bucket(raw, ix.n))
    local p = s and aligned(s, raw)
    if not p then return nil end
    v = string.sub(s, p + 7, p + 10)
    return color(v), 'bucket', v
  end
  local box = string.sub(raw, 1, 4)
  local validity, uid = struct.unpack('>I4I4', raw, 5)
  for _, c in ipairs({'c', 's'}) do
    local s, p = set(ix, c .. box, validity)
    if s and contains(s, p, uid) then return c, 'set' end
  end
end

-- follows says whether b has the UID behind that of a, in the same set.
local function follows(a, b)
  return b and a.set == b.set and a.uid + 1 == b.uid
end

-- fold_sets puts IMAP entries into their sets; those of another UIDVALIDITY are dropped. A set that is
-- not there yet is opened with the greatest UIDVALIDITY.
local function fold_sets(ix, list)
  local top, changed = {}, {}
  for _, e in ipairs(list) do top[e.box] = math.max(top[e.box] or 0, e.validity) end
  for box, validity in pairs(top) do
    if not read(ix, 'c' .. box) then begin_set(ix, 'c' .. box, validity) end
  end
  table.sort(list, function(a, b)
    if a.set == b.set then return a.uid < b.uid end
    return a.set < b.set
  end)
  local from = 1
  while from <= #list do
    local e, to = list[from], from -- up to what follows without a gap
    while follows(list[to], list[to + 1]) do to = to + 1 end
    if set(ix, 'c' .. e.box, e.validity) then
      local field = e.color .. e.box
      local s, p = set(ix, field, e.validity)
      if not s then
        s = string.format('%.0f;', e.validity)
        p = #s + 1
      end
      ix.read[field] = insert(s, p, e.uid, list[to].uid)
      changed[field] = true
    end
    from = to + 1
  end
  for field in pairs(changed) do redis.call('HSET', ix.sets, field, ix.read[field]) end
end

-- fold moves the whole tail into buckets and sets; the tail is gone in the same script.
local function fold(ix)
  local t = redis.call('HGETALL', ix.tail)
  local add, list = {}, {}
  for i = 1, #t, 2 do
    local raw, v = t[i], t[i + 1]
    if #raw == 7 then
      if ix.n == 0 then ix.n = 1 end
      local b = bucket(raw, ix.n)
      add[b] = (add[b] or '') .. raw .. v
      ix.entries = ix.entries + 1
      if color(v) == 's' then ix.skipped = ix.skipped + 1 end
    else
      local validity, uid = struct.unpack('>I4I4', raw, 5)
      list[#list + 1] = {box = string.sub(raw, 1, 4), validity = validity, uid = uid, color = color(v), set = color(v) .. string.sub(raw, 1, 8)}
    end
  end
  for b, s in pairs(add) do
    redis.call('HSET', ix.index, b, (redis.call('HGET', ix.index, b) or '') .. s)
  end
  fold_sets(ix, list)
  redis.call('DEL', ix.tail)
  while ix.entries > ix.n * LOAD do split(ix) end
  save(ix)
end

-- recolor replaces the value of a key that lies in a bucket.
local function recolor(ix, raw, v)
  local b = bucket(raw, ix.n)
  local s = redis.call('HGET', ix.index, b)
  local p = aligned(s, raw)
  if color(string.sub(s, p + 7, p + 10)) == 's' then ix.skipped = ix.skipped - 1 end
  if color(v) == 's' then ix.skipped = ix.skipped + 1 end
  write(ix, b, string.sub(s, 1, p + 6) .. v .. string.sub(s, p + ENTRY))
  save(ix)
end

-- put writes a key, with the next flush; where is what lookup said of it.
local function put(ix, raw, v, where)
  if where == 'bucket' then return recolor(ix, raw, v) end
  if where ~= 'tail' then
    filled = filled or redis.call('HLEN', ix.tail)
    if filled >= TAIL then
      flush(ix)
      fold(ix)
      filled = 0
    end
    filled = filled + 1
  end
  fresh[raw] = v
  puts[#puts + 1] = raw
  puts[#puts + 1] = v
end

-- drop removes a POP3 or content key. A UID that is gone never comes back (RFC 9051 §2.3.1.1), so an
-- IMAP key stays: its set remains one range.
local function drop(ix, raw)
  if #raw ~= 7 or redis.call('HDEL', ix.tail, raw) == 1 or ix.n == 0 then return end
  local b = bucket(raw, ix.n)
  local s = redis.call('HGET', ix.index, b)
  local p = s and aligned(s, raw)
  if not p then return end
  if color(string.sub(s, p + 7, p + 10)) == 's' then ix.skipped = ix.skipped - 1 end
  write(ix, b, string.sub(s, 1, p - 1) .. string.sub(s, p + ENTRY))
  ix.entries = ix.entries - 1
  if ix.n > 1 and ix.entries < ix.n * LOAD / 2 then join(ix) end
  save(ix)
end
