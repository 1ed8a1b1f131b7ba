-- Store.deliver for one shard. ARGV: messages (MessagePack), most unconsumed, now or '', channel, teller, payloads.
-- A message: {namespace, run id, kind, name, key}. Answers per message {verdict, us, n, owner}.

local most, now, news, answers = tonumber(ARGV[2]), now_us(ARGV[3]), false, {}

local function judged(message, payload)
  local namespace, run_id, kind, name, key = unpack(message)
  local us = redis.call('HGET', KEYS[1], namespace .. '\0' .. run_id)
  if not us then return {'not_found', '0', 0, ''} end
  local run = run_of(us)
  local n = redis.call('HGET', numbers_key(us), key)
  if n then return {'repeated', us, tonumber(n), run.owner} end
  if ENDED[run.status] then return {'ended', us, 0, run.owner} end
  if redis.call('HLEN', inbox_key(us)) >= most then return {'full', us, 0, run.owner} end
  n = tonumber(run.delivered) + 1
  redis.call('HSET', numbers_key(us), key, n)
  redis.call('HSET', inbox_key(us), n, cmsgpack.pack({kind, name, key, payload, text(now)}))
  redis.call('HINCRBY', tag .. 'counts:' .. namespace, 'unread', 1)
  change(us, run, {delivered = text(n)})
  news = true
  return {'accepted', us, n, run.owner}
end

for n, message in ipairs(cmsgpack.unpack(ARGV[1])) do answers[n] = judged(message, ARGV[5 + n]) end
if news then tell(ARGV[4], ARGV[5]) end
return answers
