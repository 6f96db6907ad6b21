-- Store jobs and put them where they belong, each wholly or not at all.
-- ARGV: date, number of jobs, then for each: id, queue, place ('back', 'front', 'due', 'defer', 'nowhere'), due epoch, ttl ('' or seconds), '1' if unique or 'new' if made just now,
--   group ('' or name), count + dependency ids, '1' if failed dependencies are tolerated, count + field/value pairs.
-- Returns a list with one number a job: 1 stored, 0 a job of that id exists (unique), 2 deferred. A job made just now that exists was stored by an earlier try.
local date = arg()
local replies = {}

-- A reused id leaves the places of its former life, so that a job is always in one place only.
local function forget(id)
  local old = call('HMGET', K.job .. id, 'origin', 'status')
  if not old[2] then return end
  local q = old[1] or ''
  if old[2] == 'queued' then
    call('LREM', K.queue .. q, 0, id)
    call('LREM', K.queue .. q .. K.intermediate_suffix, 0, id)
  end
  end_executions(id, q)
  call('ZREM', K.finished .. q, id); call('ZREM', K.failed .. q, id); call('ZREM', K.canceled .. q, id)
  call('ZREM', K.scheduled .. q, id); call('ZREM', K.deferred .. q, id); call('ZREM', K.ready .. q, id)
  call('DEL', K.job .. id, K.job .. ':' .. id .. K.dependencies_suffix)
end

for n = 1, number_arg() do
  local id, q, place, due, ttl, unique, group = arg(), arg(), arg(), arg(), arg(), arg(), arg()
  local parents, tolerant, fields = list_arg(), arg() == '1', list_arg()
  if unique ~= '' and call('EXISTS', K.job .. id) == 1 then
    replies[n] = unique == '1' and 0 or call('HGET', K.job .. id, 'status') == 'deferred' and 2 or 1
  else
    forget(id)
    replies[n] = 1
    call('SADD', K.queues, K.queue .. q)
    call('HSET', K.job .. id, unpack(fields))
    local waits = false
    for _, parent in ipairs(parents) do
      local status = call('HGET', K.job .. parent, 'status')
      if status and status ~= 'finished' and not (status == 'failed' and tolerant) then waits = true end
    end
    if waits then
      replies[n] = 2
      call('HSET', K.job .. id, 'status', 'deferred')
      call('HDEL', K.job .. id, 'enqueued_at')
      call('ZADD', K.deferred .. q, NOW, id)
      for _, parent in ipairs(parents) do
        call('SADD', K.job .. parent .. K.dependents_suffix, id)
        call('SADD', K.job .. ':' .. id .. K.dependencies_suffix, parent)
      end
    elseif place == 'due' then
      call('ZADD', K.scheduled .. q, due, id)
    elseif place ~= 'nowhere' then
      push(id, q, place == 'front')
    end
    if ttl ~= '' then expire_job(id, ttl) end
    if group ~= '' then
      call('SADD', K.group .. group, id)
      call('SADD', K.groups, group)
    end
  end
end
return replies
