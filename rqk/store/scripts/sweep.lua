-- Tidy queues: stuck ids go back to the head of their list, expired registry entries and dead workers' names go.
-- ARGV: seconds an id may stay in an intermediate list without a lease, most ids a queue, date, count + queue names.
-- Returns ids put back: queue, id, queue, id, ...
local patience, most, date = number_arg(), number_arg(), arg()
local back = {}
for _, q in ipairs(list_arg()) do
  call('ZREMRANGEBYSCORE', K.finished .. q, 0, NOW)
  call('ZREMRANGEBYSCORE', K.failed .. q, 0, NOW)
  for _, key in ipairs(call('SMEMBERS', K.workers .. ':' .. q)) do
    if call('EXISTS', key) == 0 then
      call('SREM', K.workers .. ':' .. q, key)
      call('SREM', K.workers, key)
    end
  end
  -- Dependents that RQ 3.0 released and did not push, and those whose parents have vanished (protocol.md 7, points 8 and 9).
  for _, id in ipairs(call('ZRANGEBYSCORE', K.ready .. q, '-inf', NOW - patience, 'LIMIT', 0, most)) do
    call('ZREM', K.ready .. q, id)
    if call('HGET', K.job .. id, 'status') == 'ready_to_enqueue' then
      enter(id, q, call('HGET', K.job .. id, 'enqueue_at_front') == '1', date)
      back[#back + 1] = q; back[#back + 1] = id
    end
  end
  for _, id in ipairs(call('ZRANGEBYSCORE', K.deferred .. q, '-inf', NOW - patience, 'LIMIT', 0, most)) do
    local job = call('HMGET', K.job .. id, 'status', 'allow_dependency_failures', 'enqueue_at_front')
    if job[1] ~= 'deferred' then
      call('ZREM', K.deferred .. q, id)
    elseif call('EXISTS', K.job .. ':' .. id .. K.dependencies_suffix) == 1 and is_met(id, '', job[2] == '1') then
      call('ZREM', K.deferred .. q, id)
      enter(id, q, job[3] == '1', date)
      back[#back + 1] = q; back[#back + 1] = id
    end
  end
  local stuck = call('LRANGE', K.queue .. q .. K.intermediate_suffix, 0, most - 1)
  local seen = K.unsettled .. q
  if #stuck == 0 then
    call('DEL', seen)
  else
    local there = {}
    for i = #stuck, 1, -1 do  -- the oldest is pushed last and so is first again
      local id = stuck[i]
      there[id] = true
      if not is_running(id, q) then
        local since = tonumber(call('HGET', seen, id) or '')
        if not since then
          call('HSET', seen, id, NOW)
        elseif NOW - since >= patience then
          call('LREM', K.queue .. q .. K.intermediate_suffix, 1, id)
          call('HDEL', seen, id)
          call('DEL', K.queue .. q .. K.intermediate_suffix .. ':first_seen:' .. id)
          if call('HGET', K.job .. id, 'status') == 'queued' then
            call('LPUSH', K.queue .. q, id)
            back[#back + 1] = q; back[#back + 1] = id
          end
        end
      end
    end
    for _, id in ipairs(call('HKEYS', seen)) do
      if not there[id] then call('HDEL', seen, id) end
    end
    call('EXPIRE', seen, 3600)
  end
end
return back
