-- Unregister a worker. ARGV: worker, date, count + queue names. Its hash stays readable for a minute.
local w, date = arg(), arg()
local key = worker_key(w)
redis.call('SREM', K.workers, key)
for _, q in ipairs(list_arg()) do redis.call('SREM', K.workers .. ':' .. q, key) end
if redis.call('EXISTS', key) == 1 then
  redis.call('HSET', key, 'death', date)
  redis.call('EXPIRE', key, 60)
end
redis.call('DEL', held_key(w))
return 1
