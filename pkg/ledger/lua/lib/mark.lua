-- The marks of a batch have much the same numbers: each is read, and written, once.
local function once(convert)
  return setmetatable({}, {__index = function(done, v)
    done[v] = convert(v)
    return done[v]
  end})
end
local number = once(tonumber)
local numeral = once(function(n) return string.format('%d', n) end)

-- A mark: "epoch size listed attempts takes by until\n" and a blob that only Go reads (route, served).
local function parse(m)
  if not m then return nil end
  local epoch, size, listed, attempts, takes, by, till, blob =
    string.match(m, '^(%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%d+)\n(.*)$')
  if not epoch then return nil end
  return {epoch = epoch, size = size, listed = listed, attempts = number[attempts],
    takes = number[takes], by = by, till = number[till], blob = blob}
end

local function format(m)
  return m.epoch .. ' ' .. m.size .. ' ' .. m.listed .. ' ' .. numeral[m.attempts] .. ' ' .. numeral[m.takes] .. ' ' .. m.by .. ' '
    .. numeral[m.till] .. '\n' .. m.blob
end

-- other says that a mark is for another message than the one with that LIST size: the unique-id was used again.
local function other(m, listed)
  return m.listed ~= '0' and listed ~= '0' and m.listed ~= listed
end

-- A state: "p size listed\n" parked, "d until listed\n" deferred, both with the blob of the mark they ended;
-- "x listed digest\n" deleting; "g until folded\n" the ghost of a key that left the index,
-- with the folded size of the message it stood for; it may lie beside a mark, or be left where the key is
-- collected again.
-- state_of returns the kind, whether it still holds, and for p and d the mark it ended, as far as that is kept.
local function state_of(s)
  if not s then return nil end
  local kind, first, second, rest = string.match(s, '^(%l) (%d+) ?(%d*)[^\n]*\n(.*)$')
  return kind, (kind ~= 'd' and kind ~= 'g') or tonumber(first) > now, {listed = second, blob = rest}
end

local function state(raw)
  return state_of(redis.call('HGET', KEYS[5], raw))
end

local function parked(m)
  return string.format('p %s %s\n', m.size, m.listed) .. m.blob
end

local function deferred(m, till)
  return string.format('d %.0f %s\n', till, m.listed) .. m.blob
end

-- begin returns the mark of a message under an epoch: what the old mark, or the mark that ended in a state,
-- says of this message is kept, in no case what is said of another one.
local function begin(epoch, size, listed, old, kind, ended)
  if old and old.epoch == epoch and not other(old, listed) then
    old.size, old.listed = size, listed
    return old
  end
  local m = {epoch = epoch, size = size, listed = listed, attempts = 0, takes = 0, blob = ''}
  if not old and (kind == 'd' or kind == 'p') and not other(ended, listed) then m.blob = ended.blob end
  return m
end
