-- KEYS: 1 meta 2 index 3 tail 4 sets 5 states 6 marks; of a worker also 7 lock 8 vanished 9 accounts 10 waiters
-- 11 digests: chunks of 10 bytes each, n, how many there were, and whole, if none was collected without.
-- Of an administrator also 12 doubles: the digests that messages were claimed by, see claim.lua.
-- ARGV[2] is the id of the installation key.
local function load(meta, index, tail, sets, states)
  local m = redis.call('HMGET', meta, 'epoch', 'key', 'moved', 'gone', 'buckets', 'entries', 'skipped')
  return {
    meta = meta, index = index, tail = tail, sets = sets, states = states, read = {},
    epoch = m[1], key = m[2], moved = m[3], gone = m[4],
    n = tonumber(m[5] or 0), entries = tonumber(m[6] or 0), skipped = tonumber(m[7] or 0),
  }
end

local ix = load(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])

-- closed returns the answer for an account that is not here, or not made with this key. While a slot with a
-- signpost still has the account's data, they may not have arrived in the other one.
local function closed()
  if ix.gone then return {'GONE'} end
  if ix.moved then return {ix.epoch and 'MOVING' or 'MOVED', ix.moved} end
  if ix.key and ix.key ~= ARGV[2] then return {'KEY', ix.key} end
end
