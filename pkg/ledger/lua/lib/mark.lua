-- A mark: "epoch size listed attempts takes by until\n" and a blob that only Go reads (route, served).
local function parse(m)
  if not m then return nil end
  local epoch, size, listed, attempts, takes, by, till, blob =
    string.match(m, '^(%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%d+)\n(.*)$')
  if not epoch then return nil end
  return {epoch = epoch, size = size, listed = listed, attempts = tonumber(attempts),
    takes = tonumber(takes), by = by, till = tonumber(till), blob = blob}
end

local function format(m)
  return string.format('%s %s %s %.0f %.0f %s %.0f\n', m.epoch, m.size, m.listed, m.attempts, m.takes, m.by, m.till)
    .. m.blob
end

-- A state: "p size listed\n" parked, "d until\n" deferred, both with the blob of the mark they ended;
-- "x listed digest\n" deleting; "g until\n" the ghost of a key that left the index.
local function state(raw)
  local s = redis.call('HGET', KEYS[5], raw)
  if not s then return nil end
  local kind, first = string.match(s, '^(%l) (%d+)')
  if kind == 'd' or kind == 'g' then
    return kind, tonumber(first) > now, string.match(s, '\n(.*)$') or ''
  end
  return kind, true, string.match(s, '\n(.*)$') or ''
end

local function parked(m)
  return string.format('p %s %s\n', m.size, m.listed) .. m.blob
end
