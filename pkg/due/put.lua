--@ state
-- KEYS: at, entry, told, schedule, holder, states, boost. ARGV: uid, revision, active, interval, domain, name, next (ms, 0 for never), schedule,
-- repeated, each uid once: what is written is written together at the end.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local own = redis.call('HLEN', KEYS[4]) > 0 -- some account of the shard has a schedule of its own
local boosts = redis.call('ZCARD', KEYS[7]) > 0
local uids, entries, count, add, keep, drop = {}, {}, {}, {}, {}, {}
local function push(list, a, b)
  list[#list + 1] = a
  list[#list + 1] = b
end
local function put(raw, uid, revision, active, interval, domain, name, next, schedule)
  local rev, state, was, old, quiet = tonumber(revision), '0|0|0|0|0', nil, nil, ''
  local boosted = boosts and tonumber(redis.call('ZSCORE', KEYS[7], uid) or 0) > now
  if raw then
    local r, a, s, kind = string.match(raw, '^(%d+)|(%d)|%d+|(%d+|(%d+)|%d+|%d+|%d+)|')
    if r then -- else it cannot be read, and is written anew
      old, was, state = tonumber(r), a, s
      if old > rev then return end
      if old == rev then quiet = string.match(raw, '^%d+|%d|%d+|%d+|%d+|%d+|%d+|%d+|(~%d+|)') or '' end
      if old < rev then
        state = string.gsub(s, '^%d+|(%d+)|%d+|%d+|(%d+)$', '0|%1|0|0|%2')
        if kind ~= '0' and tonumber(next) > now then next = string.format('%.0f', now) end
      end
    end
  end
  local is = string.format('%s|%s|%s|%s|%s%s|%s', revision, active, interval, state, quiet, domain, name)
  push(entries, uid, is)
  local from, to = raw and status(raw), raw and status(is) or active == '0' and 'suspended' or 'ok'
  if from then count[from] = (count[from] or 0) - 1 end
  count[to] = (count[to] or 0) + 1
  if schedule ~= '' then
    redis.call('HSET', KEYS[4], uid, schedule)
  elseif own then
    redis.call('HDEL', KEYS[4], uid)
  end
  local at = boosted and redis.call('ZSCORE', KEYS[1], uid) -- an edit does not end a boost
  if at and (next == '0' or tonumber(at) < tonumber(next)) then next = at end
  if active == '0' or next == '0' then
    drop[#drop + 1] = uid
  elseif old == rev and was == '1' then
    push(keep, next, uid)
  else
    push(add, next, uid)
  end
end
for i = 1, #ARGV, 8 do uids[#uids + 1] = ARGV[i] end
if #uids == 0 then return 1 end
local raws = redis.call('HMGET', KEYS[2], unpack(uids))
for i, raw in ipairs(raws) do put(raw, unpack(ARGV, 8 * i - 7, 8 * i)) end
if #entries > 0 then redis.call('HSET', KEYS[2], unpack(entries)) end
if #add > 0 then redis.call('ZADD', KEYS[1], unpack(add)) end
if #keep > 0 then redis.call('ZADD', KEYS[1], 'NX', unpack(keep)) end
if #drop > 0 then redis.call('ZREM', KEYS[1], unpack(drop)) end
for state, n in pairs(count) do
  if n ~= 0 then redis.call('HINCRBY', KEYS[6], state, n) end
end
return 1
