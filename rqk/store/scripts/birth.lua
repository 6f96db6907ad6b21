-- Register a worker. ARGV: worker, ttl, '1' to take the name over, count + queue names, count + field/value pairs.
-- Returns {1} registered, or {0, hostname, pid, ip_address, last_heartbeat} of the live worker that has the name.
local w, ttl, force = arg(), arg(), arg() == '1'
local queues, fields = list_arg(), list_arg()
local key = K.worker .. w
if not force and call('EXISTS', key) == 1 and call('HEXISTS', key, 'death') == 0 then
  local old = call('HMGET', key, 'hostname', 'pid', 'ip_address', 'last_heartbeat')
  return { 0, old[1] or '', old[2] or '', old[3] or '', old[4] or '' }
end
call('DEL', key)
call('HSET', key, unpack(fields))
if call('EXISTS', K.retire .. w) == 1 then call('HSET', key, 'rqk_retiring', '1') end
call('EXPIRE', key, ttl)
call('SADD', K.workers, key)
for _, q in ipairs(queues) do call('SADD', K.workers .. ':' .. q, key) end
return { 1 }
