-- KEYS: log, state, past, lives. ARGV: ttl, an era that was not there before, what is relied on (or nothing), the life, records.
-- Answers: 'ok', last position, the last before, when it was listed; or 'lost', last position; or 'gone'.

if is_over(KEYS[4], ARGV[4]) then return {'gone'} end

local state = redis.call('HMGET', KEYS[2], 'era', 'end', 'covers', 'listed')
local era, last, covers, listed = state[1], state[2], state[3], state[4]
local ttl, new_era, after = ARGV[1], ARGV[2], ARGV[3]

if after ~= '' and not holds(after, era, last, covers) then return lost(after, era, new_era, last) end
if #ARGV == 4 then
  renew(ttl, KEYS[3])
  return {'ok', last or '0-0', last or '0-0', listed or '0'}
end

local function end_of_log()
  local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
  for n = 1, #info - 1, 2 do
    if info[n] == 'last-generated-id' then return info[n + 1] end
  end
  return '0-0'
end

local before = last or '0-0'
if not last then
  -- Positions go on where they ended, also after a removal.
  last = end_of_log()
  if ttl == '0' then redis.call('PERSIST', KEYS[1]) end
end
if not era then
  era = new_era
  -- The log stands on the empty document, where it begins.
  redis.call('HSET', KEYS[2], 'era', era, 'base', last)
end

local function next_position(now)
  local ms, seq = parts(last)
  if now > ms then return now, era * COUNTED end
  if math.floor(seq / COUNTED) == tonumber(era) and seq % COUNTED < COUNTED - 1 then return ms, seq + 1 end
  return ms + 1, era * COUNTED
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bytes = 0
for n = 5, #ARGV do
  bytes = bytes + #ARGV[n]
  last = string.format('%.0f-%.0f', next_position(now))
  redis.call('XADD', KEYS[1], last, 'e', ARGV[n])
end
redis.call('HSET', KEYS[2], 'end', last)
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
renew(ttl, KEYS[3])
return {'ok', last, before, listed or '0'}
