-- KEYS: log, state, past. ARGV: ttl, how many bytes the answer may have (0: any), 'log' to leave the snapshot out.
-- Answers: 'ok', what the snapshot covers (or nothing), the snapshot, whether there is a state, then position and record of each
-- entry after it; or 'large', bytes.

local ttl, bytes_max, what = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local state = redis.call('HMGET', KEYS[2], 'era', 'covers')
local covers = what ~= 'log' and state[2]
local bytes = covers and redis.call('HSTRLEN', KEYS[2], 'snapshot') or 0
local answer = {'ok', covers or '', '', state[1] and '1' or '0'}
local after = covers and '(' .. covers or '-'
renew(ttl, KEYS[3])
while true do
  local page = redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', 64)
  for _, entry in ipairs(page) do
    local record = entry[2][2] or ''
    bytes = bytes + #record
    if bytes_max == 0 or bytes <= bytes_max then
      answer[#answer + 1] = entry[1]
      answer[#answer + 1] = record
    end
    after = '(' .. entry[1]
  end
  if #page < 64 then break end
end
if bytes_max > 0 and bytes > bytes_max then return {'large', bytes} end
if covers then answer[3] = redis.call('HGET', KEYS[2], 'snapshot') or '' end
return answer
