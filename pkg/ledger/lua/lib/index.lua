-- The UID index of an account. A raw key has 7 bytes (POP3, content) or 12 (IMAP: mailbox, UIDVALIDITY, UID).
-- A value has 4: the folded size, and the day with its top bit set for a skipped key.
local LOAD, TAIL, MANY, ENTRY = 128, 128, 32, 11

local day = (math.floor(now / 86400000) - 18262) % 32768
local function value(size, skipped)
  return struct.pack('>I2I2', size, skipped and day + 32768 or day)
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

local heads = {} -- of sets: what stands before the first range, read once
-- set returns the UID set of a field under that UIDVALIDITY, and where its first range starts; or nil.
local function set(ix, field, validity)
  local s = read(ix, field)
  if not s then return nil end
  local h = heads[s]
  if not h then
    local v, p = string.match(s, '^(%d+);()')
    h = {tonumber(v), p}
    heads[s] = h
  end
  if h[1] ~= validity then return nil end
  return s, h[2]
end

local function holds_uid(ix, field, validity, uid)
  local s, p = set(ix, field, validity)
  return s and contains(s, p, uid)
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

-- What was put and is not yet written: the values by key, and keys and values as HSET takes them.
local fresh, puts = {}, {}

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
  if holds_uid(ix, 'c' .. box, validity, uid) then return 'c', 'set' end
  if holds_uid(ix, 's' .. box, validity, uid) then return 's', 'set' end
end

-- fold_sets puts UIDs into their sets, which are named by color, mailbox and UIDVALIDITY; those of another UIDVALIDITY are
-- dropped. A set that is not there yet is opened with the greatest UIDVALIDITY.
local function fold_sets(ix, lists)
  local top = {}
  for name in pairs(lists) do
    local box, validity = string.sub(name, 2, 5), struct.unpack('>I4', name, 6)
    top[box] = math.max(top[box] or 0, validity)
  end
  for box, validity in pairs(top) do
    if not read(ix, 'c' .. box) then begin_set(ix, 'c' .. box, validity) end
  end
  for name, uids in pairs(lists) do
    local field, validity = string.sub(name, 1, 5), struct.unpack('>I4', name, 6)
    if set(ix, 'c' .. string.sub(name, 2, 5), validity) then
      local s, p = set(ix, field, validity)
      if not s then
        s = string.format('%.0f;', validity)
        p = #s + 1
      end
      table.sort(uids)
      local from = 1
      for to, uid in ipairs(uids) do -- up to what follows without a gap
        if uids[to + 1] ~= uid + 1 then
          s = insert(s, p, uids[from], uid)
          from = to + 1
        end
      end
      ix.read[field] = s
      redis.call('HSET', ix.sets, field, s)
    end
  end
end

-- fold moves the whole tail, and what was put, into buckets and sets; the tail is gone in the same script.
local function fold(ix)
  local t = redis.call('HGETALL', ix.tail)
  for i = 1, #t, 2 do fresh[t[i]] = fresh[t[i]] or t[i + 1] end
  local add, lists = {}, {}
  for raw, v in pairs(fresh) do
    if #raw == 7 then
      if ix.n == 0 then ix.n = 1 end
      local b = bucket(raw, ix.n)
      add[b] = (add[b] or '') .. raw .. v
      ix.entries = ix.entries + 1
      if color(v) == 's' then ix.skipped = ix.skipped + 1 end
    else
      local name = color(v) .. string.sub(raw, 1, 8)
      local uids = lists[name] or {}
      lists[name], uids[#uids + 1] = uids, struct.unpack('>I4', raw, 9)
    end
  end
  for b, s in pairs(add) do
    redis.call('HSET', ix.index, b, (redis.call('HGET', ix.index, b) or '') .. s)
  end
  fold_sets(ix, lists)
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
  fresh[raw] = v
  puts[#puts + 1] = raw
  puts[#puts + 1] = v
end

-- flush brings what was put to the tail; past it where that would get too long, or where it is much at once. A script that
-- puts ends with it.
local function flush(ix)
  local n = #puts / 2
  if n == 0 then return end
  if n >= MANY or redis.call('HLEN', ix.tail) + n > TAIL then
    fold(ix)
  else
    redis.call('HSET', ix.tail, unpack(puts))
  end
  fresh, puts = {}, {}
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
