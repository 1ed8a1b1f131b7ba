-- Single reads that need more than one command. ARGV: what, then its arguments.
-- tail us: {seq, event}; get namespace, run id: {us, row} or nothing; owned owner: {us, nonce}...;
-- arrivals owner: {us, delivered}...

local what = ARGV[1]
if what == 'tail' then
  return {redis.call('LLEN', events_key(ARGV[2])), redis.call('LINDEX', events_key(ARGV[2]), -1)}
end
if what == 'get' then
  local us = redis.call('HGET', KEYS[1], ARGV[2] .. '\0' .. ARGV[3])
  if not us then return {} end
  return {us, values_of(us)}
end
local answers = {}
if what == 'owned' then
  for _, us in ipairs(redis.call('ZRANGE', tag .. 'owned:' .. ARGV[2], 0, -1)) do
    answers[#answers + 1] = {us, redis.call('HGET', row_key(us), 'nonce')}
  end
else
  for _, us in ipairs(redis.call('SMEMBERS', tag .. 'mail:' .. ARGV[2])) do
    answers[#answers + 1] = {us, redis.call('HGET', row_key(us), 'delivered')}
  end
end
return answers
