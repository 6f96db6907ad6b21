-- Mark a worker as retiring, only if it holds no job: from then on it claims nothing more.
-- ARGV: worker, '1' retire / '0' take back, seconds for which this is kept for a worker that comes later ('0': it is not).
-- Returns 1 done, 0 it is busy, -1 there is no such worker, -2 there is none yet, and when it comes it retires.
local w, on, ahead = arg(), arg() == '1', number_arg()
local key = K.worker .. w
if not on then call('DEL', K.retire .. w) end
if call('HEXISTS', key, 'birth') == 0 or call('HEXISTS', key, 'death') == 1 then
  if not on or ahead == 0 then return -1 end
  call('SET', K.retire .. w, '1', 'EX', ahead)
  return -2
end
if on then
  if call('SCARD', K.worker .. w .. K.executions_suffix) > 0 or call('HGET', key, 'state') == 'busy' then return 0 end
  call('HSET', key, 'rqk_retiring', '1')
  if ahead > 0 then call('SET', K.retire .. w, '1', 'EX', ahead) end
else
  call('HDEL', key, 'rqk_retiring')
end
call('PUBLISH', K.pubsub .. w, on and '{"command": "retire"}' or '{"command": "unretire"}')
return 1
