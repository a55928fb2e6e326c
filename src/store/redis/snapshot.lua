-- KEYS: log, state, aside, past. ARGV: ttl, an era that was not there before, what it covers, record, what the kept one covers if
-- that is damaged (or nothing).
-- Answers: 'kept' or 'superseded', what the kept one covers, when it was listed; or 'lost', last position.

local state = redis.call('HMGET', KEYS[2], 'era', 'end', 'covers', 'listed', 'base', 'has-base')
local era, last, kept, listed, base, has_base = state[1], state[2], state[3], state[4], state[5], state[6]
local ttl, new_era, covers, record, damaged = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not holds(covers, era, last, kept) then return lost(covers, era, new_era, last) end
if kept and less(covers, kept) and kept ~= damaged then return {'superseded', kept, listed or '0'} end

if kept and kept == damaged then
  redis.call('HSET', KEYS[3], 'snapshot ' .. kept, redis.call('HGET', KEYS[2], 'snapshot'))
end
local base_record
if not base and kept and kept ~= damaged then
  -- What an earlier ydash has left stands on its snapshot from now on.
  base, base_record = kept, redis.call('HGET', KEYS[2], 'snapshot') or ''
elseif (not base and kept) or (not has_base and not less(base or '0-0', covers)) then
  base, base_record = covers, record
end
if base_record then
  redis.call('HSET', KEYS[4], 'base', base_record)
  redis.call('HSET', KEYS[2], 'has-base', '1')
end
redis.call('HSET', KEYS[2], 'era', era or new_era, 'covers', covers, 'snapshot', record, 'base', base or '0-0')
renew(ttl, KEYS[4])
if ttl == '0' then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
  redis.call('PERSIST', KEYS[4])
end
return {'kept', covers, listed or '0'}
