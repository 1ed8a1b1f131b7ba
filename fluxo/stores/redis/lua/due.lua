-- Store.due for one shard. ARGV: now or '', limit, routes (MessagePack), dead worker ids (MessagePack).
-- Answers {now, next wake or '', {us, row}...}: at most `limit` of each kind, best first where they are kept in order;
-- of timers that are due, at most TIMERS_MAX are looked at.

local TIMERS_MAX = 1000
local now, limit = now_us(ARGV[1]), tonumber(ARGV[2])
local asked, found, rows, next_wake = {}, {}, {}, nil

local function take(us)
  if not found[us] then
    found[us] = true
    rows[#rows + 1] = {us, values_of(us)}
  end
end

local dead = {}
for _, worker in ipairs(cmsgpack.unpack(ARGV[4])) do dead[worker] = true end

for _, route in ipairs(cmsgpack.unpack(ARGV[3])) do
  asked[route] = true
  if limit > 0 then
    for _, us in ipairs(redis.call('ZRANGE', tag .. 'ready:' .. route, 0, limit - 1)) do take(us) end
    local timers = redis.call('ZRANGEBYSCORE', tag .. 'timers:' .. route, '-inf', text(now), 'LIMIT', 0, TIMERS_MAX)
    for _, us in ipairs(timers) do take(us) end
  end
  local later = redis.call('ZRANGEBYSCORE', tag .. 'timers:' .. route, '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if later[2] and (next_wake == nil or tonumber(later[2]) < next_wake) then next_wake = tonumber(later[2]) end
end

for _, owner in ipairs(redis.call('SMEMBERS', tag .. 'owners')) do
  if dead[owner] or redis.call('SISMEMBER', tag .. 'workers', owner) == 0 then
    local taken = 0
    for _, us in ipairs(redis.call('ZRANGE', tag .. 'owned:' .. owner, 0, -1)) do
      if taken >= limit then break end
      local run = redis.call('HMGET', row_key(us), 'namespace', 'queue', 'workflow', 'version')
      if asked[table.concat(run, '\0')] then
        take(us)
        taken = taken + 1
      end
    end
  end
end
return {text(now), next_wake and text(next_wake) or '', rows}
