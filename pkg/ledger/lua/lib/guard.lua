-- A write of a worker is refused unless the lock bears its token (ARGV[3]), the account is still here,
-- and its epoch (ARGV[4]) is the one the run knows.
local function stale()
  local l = redis.call('HMGET', KEYS[7], 'token', 'until')
  if l[1] ~= ARGV[3] or tonumber(l[2] or 0) <= now then return {'STALE', 'the lock is no longer held'} end
  if ix.gone then return {'STALE', 'the account was deleted'} end
  if ix.moved then return {'STALE', 'the account was moved to another remote mailbox'} end
  if ix.key and ix.key ~= ARGV[2] then return {'KEY', ix.key} end
  if (ix.epoch or '') ~= ARGV[4] then return {'STALE', 'the index was reset'} end
end
