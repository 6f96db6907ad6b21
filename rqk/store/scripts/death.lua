-- Unregister a worker. ARGV: worker, date, count + queue names. Its hash stays readable for a minute.
local w, date = arg(), arg()
local key = K.worker .. w
call('SREM', K.workers, key)
for _, q in ipairs(list_arg()) do call('SREM', K.workers .. ':' .. q, key) end
if call('EXISTS', key) == 1 then
  call('HSET', key, 'death', date)
  call('EXPIRE', key, 60)
end
call('DEL', K.worker .. w .. K.executions_suffix)
return 1
