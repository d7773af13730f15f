-- ARGV: 3 lease token 4 raw. leased returns the mark that bears the token, or the answer that it does not.
-- A lease whose time is over and that nobody else took is still one.
local function leased()
  if ix.gone then return nil, {'LOST'} end
  local shut = closed()
  if shut then return nil, shut end
  if not ix.epoch then return nil, {'NO-EPOCH'} end
  local m = parse(redis.call('HGET', KEYS[6], ARGV[4]))
  if not m or m.by ~= ARGV[3] or m.till == 0 then return nil, {'LOST'} end
  return m
end
