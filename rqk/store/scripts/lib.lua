-- Shared by all scripts: what a script uses of it is put before it. K and a dot before a word stand for a key name of core/keys.py, replaced by its text.
-- Key names are built here from K, since ids are only known once a list was popped: a cluster of several slots is not supported (RQ's names rule it out).

local call = redis.call  -- looked up once: a script makes some thirty calls
local clock = call('TIME')
local NOW = tonumber(clock[1])                       -- whole seconds of the server, the clock of all leases and registries
local SOON = NOW + 1                                 -- a lease is counted from here, or the seconds cut off above would shorten it
local cursor = 0
local function arg() cursor = cursor + 1; return ARGV[cursor] end
local function args(count)                          -- many at once, for a fifth of the time
  local first = cursor + 1
  cursor = cursor + count
  return unpack(ARGV, first, cursor)
end
local function number_arg() return tonumber(arg()) end
local function list_arg()                            -- a count, then that many values
  local first = cursor + 2
  cursor = first - 1 + tonumber(ARGV[first - 1])
  return { unpack(ARGV, first, cursor) }
end

local function expire_job(id, seconds)               -- the hash and its two sets live and die together
  call('EXPIRE', K.job .. id, seconds)
  call('EXPIRE', K.job .. id .. K.dependents_suffix, seconds)
  call('EXPIRE', K.job .. ':' .. id .. K.dependencies_suffix, seconds)
end

local function push(id, q, front)
  call(front and 'LPUSH' or 'RPUSH', K.queue .. q, id)
end

-- Rate limits (protocol.md 3.15): move waiting ids into free slots.
local function promote(name, date)
  local slots = tonumber(call('HGET', K.rl .. name, 'concurrency') or '0') or 0
  while call('ZCARD', K.rl .. name .. ':allowed') < slots do
    local id = call('ZPOPMIN', K.rl .. name .. ':rate_limited')[1]
    if not id then return end
    local job = call('HMGET', K.job .. id, 'origin', 'status', 'enqueue_at_front')
    if job[1] and job[2] == 'rate_limited' then
      call('ZADD', K.rl .. name .. ':allowed', NOW, id)
      call('HSET', K.job .. id, 'status', 'queued', 'enqueued_at', date)
      push(id, job[1], job[3] == '1')
    end
  end
end

local function free_slot(id, name, date)
  if name and call('ZREM', K.rl .. name .. ':allowed', id) == 1 then promote(name, date) end
end

-- A job that was waiting elsewhere goes into its list, or into the waiting room of its rate limit.
local function enter(id, q, front, date)
  local job = call('HMGET', K.job .. id, 'rate_limit_key', 'rate_limit_concurrency', 'ttl')
  call('SADD', K.queues, K.queue .. q)
  if job[1] and job[1] ~= '' and tonumber(job[2] or '') then
    call('SADD', K.rl_keys, job[1])
    call('HSET', K.rl .. job[1], 'concurrency', job[2])
    call('HSET', K.job .. id, 'status', 'rate_limited')
    if front then call('HSET', K.job .. id, 'enqueue_at_front', '1') end
    call('ZADD', K.rl .. job[1] .. ':rate_limited', NOW, id)
    promote(job[1], date)
  else
    call('HSET', K.job .. id, 'status', 'queued', 'enqueued_at', date)
    push(id, q, front)
  end
  if (tonumber(job[3] or '') or 0) > 0 then expire_job(id, job[3]) end
end

-- Whether all jobs that `id` waits for, but for one that is known to be met, allow it to start. A job that is gone does.
local function is_met(id, known, tolerant)
  for _, other in ipairs(call('SMEMBERS', K.job .. ':' .. id .. K.dependencies_suffix)) do
    if other ~= known then
      local status = call('HGET', K.job .. other, 'status')
      if status and status ~= 'finished' and not (status == 'failed' and tolerant) then return false end
    end
  end
  return true
end

-- Dependents (protocol.md 3.13). `outcome` is the status the parent has just got. Returns whether there were any.
local function release(parent, outcome, date)
  local dependents = call('SMEMBERS', K.job .. parent .. K.dependents_suffix)
  for _, id in ipairs(dependents) do
    local job = call('HMGET', K.job .. id, 'status', 'allow_dependency_failures', 'origin', 'enqueue_at_front')
    if not job[3] then
      call('SREM', K.job .. parent .. K.dependents_suffix, id)
    elseif job[1] == 'deferred' then
      local tolerant = job[2] == '1'
      if (outcome == 'finished' or (outcome == 'failed' and tolerant)) and is_met(id, parent, tolerant) then
        call('ZREM', K.deferred .. job[3], id)
        call('SREM', K.job .. parent .. K.dependents_suffix, id)
        enter(id, job[3], job[4] == '1', date)
      end
    end
  end
  return #dependents > 0
end

-- Every trace of one attempt. Returns whether the lease was still there: only then may its outcome be written.
local function end_execution(id, ex, q, w)
  local lease = id .. ':' .. ex
  call('DEL', K.execution .. lease)
  call('ZREM', K.executions .. id, ex)
  if w ~= '' then call('SREM', K.worker .. w .. K.executions_suffix, lease) end
  return call('ZREM', K.wip .. q, lease) == 1
end

local function tally(w, successes, failures, worked)
  if successes ~= '0' then call('HINCRBY', K.worker .. w, 'successful_job_count', successes) end
  if failures ~= '0' then call('HINCRBY', K.worker .. w, 'failed_job_count', failures) end
  if tonumber(worked) > 0 then call('HINCRBYFLOAT', K.worker .. w, 'total_working_time', worked) end
end

local function is_running(id, q)
  for _, ex in ipairs(call('ZRANGE', K.executions .. id, 0, -1)) do
    if call('ZSCORE', K.wip .. q, id .. ':' .. ex) then return true end
  end
  return false
end

local function delete_job(id)
  call('DEL', K.job .. id, K.job .. id .. K.dependents_suffix, K.job .. ':' .. id .. K.dependencies_suffix, K.results .. id)
end

-- Attempts of a former life of a job may not write into the new one.
local function end_executions(id, q)
  for _, ex in ipairs(call('ZRANGE', K.executions .. id, 0, -1)) do
    end_execution(id, ex, q, call('HGET', K.execution .. id .. ':' .. ex, 'worker_name') or '')
  end
end

local LEFTOVER = { finished = true, failed = true, stopped = true, canceled = true }

-- Fields that every job has, empty if there is nothing to say (protocol.md 1.3): half of a usual hash, which three processes need not carry.
local OFTEN_EMPTY = { started_at = true, ended_at = true, last_heartbeat = true, worker_name = true, group_id = true, success_callback_name = true, failure_callback_name = true, stopped_callback_name = true }

local function begin(id, w, date, goes_on)           -- a leased job is given to a process; of a busy worker the rest is as it was
  if goes_on then call('HSET', K.worker .. w, 'current_job', id, 'last_heartbeat', date)
  else call('HSET', K.worker .. w, 'state', 'busy', 'current_job', id, 'current_job_working_time', '0', 'last_heartbeat', date) end
  call('HSET', K.job .. id, 'status', 'started', 'started_at', date, 'last_heartbeat', date, 'worker_name', w)
  call('PERSIST', K.job .. id)
end

local function lease_job(id, ex, home, w, epoch, lease, ahead)
  local mark = id .. ':' .. ex
  end_executions(id, home)
  call('HSET', K.execution .. mark, 'id', ex, 'job_id', id, 'worker_name', w, 'created_at', epoch, 'last_heartbeat', epoch)
  call('EXPIRE', K.execution .. mark, lease + 60)
  call('ZADD', K.executions .. id, NOW + lease + 60, ex)
  call('EXPIRE', K.executions .. id, lease + 120)
  call('ZADD', K.wip .. home, SOON + lease, mark)
  call('SADD', K.worker .. w .. K.executions_suffix, mark)
  if not ahead then call('EXPIRE', K.worker .. w .. K.executions_suffix, lease + 60) end  -- else it has the job in hand, and an end
end

local function is_text(bytes)                        -- whether it is UTF-8: ids and names are texts to everybody
  if not string.find(bytes, '[\128-\255]') then return true end
  local characters = { '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]', '\237[\128-\159][\128-\191]',
    '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]' }
  for _, character in ipairs(characters) do bytes = string.gsub(bytes, character, ' ') end
  return not string.find(bytes, '[\128-\255]')
end

-- One job from the first queue that has one, started under a lease, in the order given; with '1' as the last argument only
-- leased, to be begun later, by a worker that has another job in hand.
-- Returns {0} nothing, {1, id, queue, fields} a job (without the fields that are there only to be empty), {2} suspended, {3} retiring, {4} the worker is not registered.
local function claim()
  local w, ex, date, epoch, seconds = args(5)
  local lease, queues, held = tonumber(seconds), list_arg(), list_arg()
  local ahead = arg() == '1'
  for i = #held - 1, 1, -2 do                        -- what blocking pops moved goes back to the head; priority decides anew
    if call('LREM', K.queue .. held[i] .. K.intermediate_suffix, 1, held[i + 1]) > 0 then
      call('LPUSH', K.queue .. held[i], held[i + 1])
    end
  end
  local me = call('HMGET', K.worker .. w, 'birth', 'rqk_retiring', 'state')
  if not me[1] then return { 4 } end
  if me[2] then return { 3 } end
  if call('EXISTS', K.suspended) == 1 then
    if me[3] ~= 'suspended' and not ahead then call('HSET', K.worker .. w, 'state', 'suspended') end
    return { 2 }
  end
  for _, q in ipairs(queues) do
    while true do
      local id = call('LPOP', K.queue .. q)
      if not id then break end
      local stored, job, n = call('HGETALL', K.job .. id), {}, 0
      local status, data, origin
      for i = 1, #stored, 2 do
        local name, value = stored[i], stored[i + 1]
        if value ~= '' or not OFTEN_EMPTY[name] then
          job[n + 1], job[n + 2], n = name, value, n + 2
          if name == 'status' then status = value elseif name == 'data' then data = true
          elseif name == 'origin' then origin = value end
        end
      end
      if origin and not is_text(origin) then origin = nil end
      if data and is_text(id) and not LEFTOVER[status] and not (status == 'started' and is_running(id, origin or q)) then
        local home = (origin and origin ~= '') and origin or q
        local ok, problem = pcall(lease_job, id, ex, home, w, epoch, lease, ahead)
        if not ok then                                 -- a key of another type: nothing that was popped may be lost
          call('LPUSH', K.queue .. q, id)
          error(problem, 0)
        end
        if not ahead then begin(id, w, date)
        elseif status ~= 'queued' then call('HSET', K.job .. id, 'status', 'queued') end  -- as some producers leave it (created): it tells that it has not begun
        return { 1, id, home, job }
      end
    end
  end
  if me[3] ~= 'idle' and not ahead then call('HSET', K.worker .. w, 'state', 'idle') end
  return { 0 }
end
