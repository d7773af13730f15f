--@ use clock account guard snapshot
-- ARGV: 3 token 4 epoch
return stale() or snapshot()
