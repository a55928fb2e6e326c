-- KEYS: log, state, past, lives. ARGV: ttl, the life, the ids of all versions in order, the id, the description, the record of the
-- state, and of each version that makes room: its id, its description.
-- Answers 'kept'; 'gone'; 'absent' without a dashboard; or 'changed' if there are other versions, or one that makes room has been
-- described anew: it may have a name by now.

if is_over(KEYS[4], ARGV[2]) then return {'gone'} end
if redis.call('HEXISTS', KEYS[2], 'era') == 0 then return {'absent'} end

local past = KEYS[3]
if redis.call('HEXISTS', past, ARGV[4]) == 1 then return {'kept'} end
local ids = {}
for _, name in ipairs(redis.call('HKEYS', past)) do
  if string.sub(name, 1, 1) == 'v' then ids[#ids + 1] = name end
end
table.sort(ids)
if table.concat(ids, ' ') ~= ARGV[3] then return {'changed'} end
for n = 7, #ARGV, 2 do
  if redis.call('HGET', past, ARGV[n]) ~= ARGV[n + 1] then return {'changed'} end
end

for n = 7, #ARGV, 2 do redis.call('HDEL', past, ARGV[n], 'c' .. ARGV[n]) end
redis.call('HSET', past, ARGV[4], ARGV[5], 'c' .. ARGV[4], ARGV[6])
renew(ARGV[1], past)
if ARGV[1] == '0' then redis.call('PERSIST', past) end
return {'kept'}
