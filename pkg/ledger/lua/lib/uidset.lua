-- UID sets in sequence-set form ("1:4711,4713"), searched and changed in place.

-- range returns the range that starts at p: its ends, and where its text ends.
local function range(s, p)
  local lo, hi, past = string.match(s, '^(%d+):?(%d*)()', p)
  if not lo then return nil end
  lo = tonumber(lo)
  return lo, tonumber(hi) or lo, past - 1
end

-- locate returns where the last range with lo <= uid starts, and what range says of it, or nil. s starts with a range at p.
local function locate(s, p, uid)
  local low, high = p, #s + 1
  while high - low > 24 do
    local comma = string.find(s, ',', math.floor((low + high) / 2), true)
    if not comma or comma >= high then
      high = math.floor((low + high) / 2)
    elseif range(s, comma + 1) <= uid then
      low = comma + 1
    else
      high = comma
    end
  end
  local at, l, h, past
  while low <= #s do
    local lo, hi, last = range(s, low)
    if not lo or lo > uid then break end
    at, l, h, past, low = low, lo, hi, last, last + 2
  end
  return at, l, h, past
end

local function contains(s, p, uid)
  local at, _, hi = locate(s, p, uid)
  return at and uid <= hi
end

local function text(lo, hi)
  if lo == hi then return string.format('%.0f', lo) end
  return string.format('%.0f:%.0f', lo, hi)
end

-- insert returns s with the UIDs from lo to hi in it.
local function insert(s, p, lo, hi)
  local at, l, h, last = locate(s, p, lo)
  local before, after = string.sub(s, 1, p - 1), p
  if at then
    if hi <= h then return s end
    if lo <= h + 1 then
      before, lo = string.sub(s, 1, at - 1), l
    else
      before = string.sub(s, 1, last) .. ','
    end
    after = last + 2
  end
  l, h, last = range(s, after)
  while l and l <= hi + 1 do
    hi, after = math.max(hi, h), last + 2
    l, h, last = range(s, after)
  end
  local rest = string.sub(s, after)
  if rest ~= '' then rest = ',' .. rest end
  return before .. text(lo, hi) .. rest
end
