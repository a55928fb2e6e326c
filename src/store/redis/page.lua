-- KEYS: log. ARGV: after which position, how many entries, how many bytes.
-- Answers position and record of each entry; at least one if there is one.

local answer = {}
local after, left, bytes = '(' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
while left > 0 and bytes > 0 do
  local count = math.min(left, 16)
  local page = redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', count)
  for _, entry in ipairs(page) do
    local record = entry[2][2] or ''
    answer[#answer + 1] = entry[1]
    answer[#answer + 1] = record
    after = '(' .. entry[1]
    left = left - 1
    bytes = bytes - #record
    if bytes <= 0 then break end
  end
  if #page < count then break end
end
return answer
