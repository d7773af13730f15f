-- What an account is to people; table waits comes from the Go code.
local function status(raw)
  local active, nb, kind, fails = string.match(raw or '', '^%d+|(%d)|%d+|(%d+)|(%d+)|(%d+)|')
  if not active then return nil end
  if active == '0' then return 'suspended' end
  return (nb ~= '0' and waits[kind]) or (fails ~= '0' and 'failing') or 'ok'
end
-- write replaces an entry, or removes it, and counts accounts by what they are.
local function write(keys, uid, was, is)
  if is then redis.call('HSET', keys[2], uid, is) else redis.call('HDEL', keys[2], uid) end
  local from, to = status(was), status(is)
  if from == to then return end
  if from then redis.call('HINCRBY', keys[6], from, -1) end
  if to then redis.call('HINCRBY', keys[6], to, 1) end
end
