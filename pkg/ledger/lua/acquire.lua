--@ use clock account snapshot
-- ARGV: 3 token 4 account 5 job 6 owner 7 ttl 8 "1" for a lock of the account alone 9 how long a waiter lives, s
-- 10 "1" for a test: it asks nobody to repeat or to wait, it is no run of the account for others, and leaves nothing but the lock
local shut = closed()
if shut then return shut end

-- A waiter's score is the second it began to wait in the high bits, and how long after that it last
-- tried in the low 20.
local WAIT = 1048576
local second = math.floor(now / 1000) - 1577836800
local account = ARGV[4]

local function alive(score)
  return second - math.floor(score / WAIT) - score % WAIT <= tonumber(ARGV[9])
end

local function wait()
  local score = tonumber(redis.call('ZSCORE', KEYS[10], account) or nil)
  local first = score and alive(score) and math.floor(score / WAIT) or second
  redis.call('ZADD', KEYS[10], first * WAIT + math.min(second - first, WAIT - 1), account)
  redis.call('PEXPIRE', KEYS[10], 2000 * ARGV[9])
end

-- oldest returns the account that waits longest; dead waiters go.
local function oldest()
  while true do
    local z = redis.call('ZRANGE', KEYS[10], 0, 0, 'WITHSCORES')
    if not z[1] or alive(tonumber(z[2])) then return z[1] end
    redis.call('ZREM', KEYS[10], z[1])
  end
end

local test = ARGV[10] == '1'
local l = redis.call('HMGET', KEYS[7], 'token', 'account', 'job', 'until', 'since', 'kind')
local left = tonumber(l[4] or 0) - now
if l[1] == ARGV[3] and left > 0 then return snapshot() end
if l[1] and left > 0 then
  local same = l[2] == account
  if not same and not test then wait() end
  if l[6] == 'push' then
    redis.call('HSET', KEYS[7], 'yield', 1)
    return {'BUSY', l[2], l[3], left, 'push'}
  end
  if same and not test then redis.call('HSET', KEYS[7], 'again', 1) end
  if same then return {'BUSY', l[2], l[3], left, 'same', tonumber(l[5] or 0)} end
  return {'BUSY', l[2], l[3], left, ''}
end
if ARGV[8] ~= '1' then
  local first = oldest()
  if first and first ~= account then
    if not test then wait() end
    return {'BUSY', first, '', 0, 'queued'}
  end
  if not test then redis.call('ZREM', KEYS[10], account) end
end
redis.call('DEL', KEYS[7])
redis.call('HSET', KEYS[7], 'token', ARGV[3], 'account', test and 'test' or account, 'job', ARGV[5], 'owner', ARGV[6],
  'until', now + ARGV[7], 'since', now)
redis.call('PEXPIRE', KEYS[7], ARGV[7])
if test then return snapshot() end
redis.call('HSETNX', KEYS[9], account, '?')
if redis.call('HGET', KEYS[1], 'job') ~= ARGV[5] then
  redis.call('HSET', KEYS[1], 'job', ARGV[5], 'starts', 0)
end
redis.call('HINCRBY', KEYS[1], 'starts', 1)
return snapshot()
