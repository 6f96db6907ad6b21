-- Mark a worker as retiring, only if it holds no job: from then on it claims nothing more. ARGV: worker, '1' retire / '0' take back.
-- Returns 1 done, 0 it is busy, -1 there is no such worker.
local w, on = arg(), arg() == '1'
local key = worker_key(w)
if call('HEXISTS', key, 'birth') == 0 or call('HEXISTS', key, 'death') == 1 then return -1 end
if on then
  if call('SCARD', held_key(w)) > 0 or call('HGET', key, 'state') == 'busy' then return 0 end
  call('HSET', key, 'rqk_retiring', '1')
else
  call('HDEL', key, 'rqk_retiring')
end
call('PUBLISH', K.pubsub .. w, on and '{"command": "retire"}' or '{"command": "unretire"}')
return 1
