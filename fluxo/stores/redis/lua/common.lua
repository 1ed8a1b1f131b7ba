-- What the scripts share, put before each of them: names of keys, a run's row, and where a run is filed.
-- KEYS[1] is the shard's "ids"; every other key begins with the same hash tag and thus lies on the same node.
-- Numbers of 64 bits (nonces) stay text; times and counters are below 2^53, which Lua's numbers hold exactly.

local tag = string.sub(KEYS[1], 1, -4)

local FIELDS = {'namespace', 'run_id', 'workflow', 'version', 'status', 'queue', 'shard', 'priority', 'wake_at_us',
  'delivered', 'consumed', 'owner', 'nonce', 'base_seq', 'tail_seq', 'tail_digest', 'input_digest', 'created_at_us',
  'updated_at_us'}

local OPEN = {pending = true, running = true, waiting = true}
local ENDED = {completed = true, failed = true, cancelled = true}

local function text(number)
  return string.format('%.0f', number)
end

local function now_us(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function row_key(us) return tag .. 'run:' .. us end
local function events_key(us) return tag .. 'events:' .. us end
local function inbox_key(us) return tag .. 'inbox:' .. us end
local function numbers_key(us) return tag .. 'numbers:' .. us end
local function route_of(run)
  return table.concat({run.namespace, run.queue, run.workflow, run.version}, '\0')
end

local function values_of(us)
  return redis.call('HMGET', row_key(us), unpack(FIELDS))
end

local function run_of(us)
  local values = values_of(us)
  if not values[1] then return nil end
  local run = {}
  for n, field in ipairs(FIELDS) do run[field] = values[n] end
  return run
end

local function has_mail(run)
  return tonumber(run.delivered) > tonumber(run.consumed)
end

local function count(run, status, by)
  redis.call('HINCRBY', tag .. 'counts:' .. run.namespace, status, by)
end

local function unfile(us, run)
  local route = route_of(run)
  if OPEN[run.status] then
    if run.owner == '' then
      redis.call('ZREM', tag .. 'ready:' .. route, us)
      redis.call('ZREM', tag .. 'timers:' .. route, us)
    else
      local owned = tag .. 'owned:' .. run.owner
      redis.call('ZREM', owned, us)
      redis.call('SREM', tag .. 'mail:' .. run.owner, us)
      if redis.call('EXISTS', owned) == 0 then redis.call('SREM', tag .. 'owners', run.owner) end
    end
  elseif ENDED[run.status] then
    redis.call('ZREM', tag .. 'ended:' .. run.namespace, us)
  end
  count(run, run.status, -1)
end

local function file(us, run)
  local route, rank = route_of(run), -tonumber(run.priority)
  if OPEN[run.status] then
    if run.owner == '' then
      local ready = has_mail(run)
      if run.status == 'pending' then ready = run.wake_at_us == '' end
      if ready then redis.call('ZADD', tag .. 'ready:' .. route, rank, us) end
      if run.wake_at_us ~= '' then redis.call('ZADD', tag .. 'timers:' .. route, run.wake_at_us, us) end
    else
      redis.call('ZADD', tag .. 'owned:' .. run.owner, rank, us)
      redis.call('SADD', tag .. 'owners', run.owner)
      if has_mail(run) then redis.call('SADD', tag .. 'mail:' .. run.owner, us) end
    end
  elseif ENDED[run.status] then
    redis.call('ZADD', tag .. 'ended:' .. run.namespace, run.updated_at_us, us)
  end
  count(run, run.status, 1)
end

-- Give a run other values, and file it anew.
local function change(us, run, values)
  unfile(us, run)
  local flat = {}
  for field, value in pairs(values) do
    run[field] = value
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  redis.call('HSET', row_key(us), unpack(flat))
  file(us, run)
end

local function push(us, events)
  for first = 1, #events, 1000 do
    redis.call('RPUSH', events_key(us), unpack(events, first, math.min(first + 999, #events)))
  end
end

local function tell(channel, teller)
  redis.call('PUBLISH', channel, teller)
end
