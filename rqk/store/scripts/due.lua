-- Move scheduled jobs whose time has come into their lists. ARGV: scheduler's name, lock ttl, date, most a queue, count + queue names.
-- A queue whose scheduler lock someone else holds (RQ's own scheduler, another worker of ours) is left to them.
-- Returns {locks held, jobs moved, epoch of the next due job or -1}.
local me, ttl, date, most = arg(), arg(), arg(), number_arg()
local owned, moved, soonest = 0, 0, -1
for _, q in ipairs(list_arg()) do
  local owner = call('GET', K.scheduler_lock .. q)
  if not owner or owner == me then
    owned = owned + 1
    for _, id in ipairs(call('ZRANGEBYSCORE', K.scheduled .. q, '-inf', NOW, 'LIMIT', 0, most)) do
      call('ZREM', K.scheduled .. q, id)
      local job = call('HMGET', K.job .. id, 'data', 'status', 'enqueue_at_front', 'enqueue_at_front_on_retry', 'ended_at')
      if job[1] and job[2] ~= 'canceled' and job[2] ~= 'started' then
        enter(id, q, job[3] == '1' or (job[4] == '1' and job[5] and job[5] ~= ''), date)
        moved = moved + 1
      end
    end
    call('SET', K.scheduler_lock .. q, me, 'EX', ttl)  -- last: what is due makes no new memory necessary, this does
    local first = call('ZRANGE', K.scheduled .. q, 0, 0, 'WITHSCORES')
    if first[2] and (soonest < 0 or tonumber(first[2]) < soonest) then soonest = tonumber(first[2]) end
  end
end
return { owned, moved, soonest }
