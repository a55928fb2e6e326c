-- KEYS: log, state, aside. ARGV: ttl, an era that was not there before, what it covers, record, what the kept one covers if
-- that is damaged (or nothing).
-- Answers: 'kept' or 'superseded', what the kept one covers, when it was listed; or 'lost', last position.

local state = redis.call('HMGET', KEYS[2], 'era', 'end', 'covers', 'listed')
local era, last, kept, listed = state[1], state[2], state[3], state[4]
local ttl, new_era, covers, record, damaged = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not holds(covers, era, last, kept) then return lost(covers, era, new_era, last) end
if kept and less(covers, kept) and kept ~= damaged then return {'superseded', kept, listed or '0'} end

if kept and kept == damaged then
  redis.call('HSET', KEYS[3], 'snapshot ' .. kept, redis.call('HGET', KEYS[2], 'snapshot'))
end
redis.call('HSET', KEYS[2], 'era', era or new_era, 'covers', covers, 'snapshot', record)
renew(ttl)
if ttl == '0' then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
end
return {'kept', covers, listed or '0'}
