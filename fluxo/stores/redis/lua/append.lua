-- Store.append. ARGV: batch (MessagePack), now or '', channel, teller, then what is binary: for each item its events and,
-- of a new run, its input digest.
-- An item: {us, prev_seq, prev_digest, number of events, projection or false, consumed or false, new or false}.
-- An event is "<nonce> <digest> <body>"; its seq is its place in the list. Every check of an append stands before its
-- first write (PROTOCOL rule 21). Answers per item: {'ok', us}, {'no'} or {'is', us, row}.

local function digest_of(event)
  return string.match(event, '^%d+ (%d+) ')
end

local function stands(us, prev_seq, events)
  local there = redis.call('LRANGE', events_key(us), prev_seq, prev_seq + #events - 1)
  if #there < #events then return false end
  for n, event in ipairs(events) do
    if there[n] ~= event then return false end
  end
  return true
end

local function tail_of(events)
  return tostring(#events), digest_of(events[#events])
end

local function extend(us, prev_seq, prev_digest, events, projection, consumed, now)
  local length = redis.call('LLEN', events_key(us))
  if length == 0 then return {'no'} end
  if length ~= prev_seq or digest_of(redis.call('LINDEX', events_key(us), -1)) ~= prev_digest then
    if stands(us, prev_seq, events) then return {'ok', us} end
    return {'no'}
  end
  push(us, events)
  if consumed then
    local gone = redis.call('HDEL', inbox_key(us), unpack(consumed))
    if gone > 0 then redis.call('HINCRBY', tag .. 'counts:' .. redis.call('HGET', row_key(us), 'namespace'), 'unread', -gone) end
  end
  if projection then
    projection.tail_seq = text(prev_seq + #events)
    projection.tail_digest = digest_of(events[#events])
    projection.updated_at_us = text(now)
    change(us, run_of(us), projection)
  end
  return {'ok', us}
end

local function create(new, events, now)
  local name = new.namespace .. '\0' .. new.run_id
  local us = redis.call('HGET', KEYS[1], name)
  if us then
    if stands(us, 0, events) then return {'ok', us} end
    return {'is', us, values_of(us)}
  end
  -- The key is the time, moved on where two runs were made in one microsecond: keys grow, and are never used again.
  us = text(math.max(now, tonumber(redis.call('GET', tag .. 'last') or '0') + 1))
  redis.call('SET', tag .. 'last', us)
  redis.call('HSET', KEYS[1], name, us)
  redis.call('ZADD', tag .. 'all:' .. new.namespace, us, us)
  new.delivered, new.consumed, new.base_seq = '0', '0', '0'
  new.tail_seq, new.tail_digest = tail_of(events)
  new.created_at_us, new.updated_at_us = text(now), text(now)
  local flat = {}
  for field, value in pairs(new) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  redis.call('HSET', row_key(us), unpack(flat))
  push(us, events)
  file(us, new)
  return {'ok', us}
end

local now, news, answers, at = now_us(ARGV[2]), false, {}, 5
for n, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  local us, prev_seq, prev_digest, number, projection, consumed, new = unpack(item)
  local events = {}
  for e = 1, number do events[e] = ARGV[at + e - 1] end
  at = at + number
  if new then
    new.input_digest = ARGV[at]
    at = at + 1
    answers[n] = create(new, events, now)
  else
    answers[n] = extend(us, prev_seq, prev_digest, events, projection, consumed, now)
  end
  news = news or (answers[n][1] == 'ok' and (new or projection))
end
if news then tell(ARGV[3], ARGV[4]) end
return answers
