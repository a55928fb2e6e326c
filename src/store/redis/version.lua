-- KEYS: log, state, past, lives. ARGV: ttl, the life, how many versions there are, the id, the description, the record of the state, ids
-- of those that make room.
-- Answers 'kept'; 'gone'; 'absent' without a dashboard; or 'changed' if there is another number of versions.

if is_over(KEYS[4], ARGV[2]) then return {'gone'} end
if redis.call('HEXISTS', KEYS[2], 'era') == 0 then return {'absent'} end

local past = KEYS[3]
if redis.call('HEXISTS', past, ARGV[4]) == 1 then return {'kept'} end
local count = 0
for _, name in ipairs(redis.call('HKEYS', past)) do
  if string.sub(name, 1, 1) == 'v' then count = count + 1 end
end
if count ~= tonumber(ARGV[3]) then return {'changed'} end

for n = 7, #ARGV do redis.call('HDEL', past, ARGV[n], 'c' .. ARGV[n]) end
redis.call('HSET', past, ARGV[4], ARGV[5], 'c' .. ARGV[4], ARGV[6])
renew(ARGV[1], past)
if ARGV[1] == '0' then redis.call('PERSIST', past) end
return {'kept'}
