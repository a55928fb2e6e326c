-- KEYS: log, state, aside. ARGV: the last position that may go, the one after it, bytes of what goes, positions of damaged
-- entries.
-- Answers how many entries are gone.

local state = redis.call('HMGET', KEYS[2], 'covers', 'base')
local covers, base = state[1], state[2]
if not covers or less(covers, ARGV[1]) or not base or less(base, ARGV[1]) then return 0 end
for n = 4, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[n], ARGV[n])[1]
  if entry then redis.call('HSET', KEYS[3], ARGV[n], entry[2][2] or '') end
end
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
if gone > 0 and redis.call('HINCRBY', KEYS[2], 'bytes', 0 - tonumber(ARGV[3])) < 0 then
  redis.call('HSET', KEYS[2], 'bytes', 0)
end
return gone
