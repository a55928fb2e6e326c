-- KEYS: log, state, aside. ARGV: the last position that may go, the one after it, positions of damaged entries.
-- Answers how many entries are gone.

local covers = redis.call('HGET', KEYS[2], 'covers')
if not covers or less(covers, ARGV[1]) then return 0 end
for n = 3, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[n], ARGV[n])[1]
  if entry then redis.call('HSET', KEYS[3], ARGV[n], entry[2][2] or '') end
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
