-- Store a job of an id that was made just now, and push it: every enqueue of the usual kind runs it.
-- ARGV: key of the set of queues, key of the list, key of the job, job id, RPUSH or LPUSH, then fields and values in turn.
-- Returns 1 done, 0 the id exists: this is a second try, whose first may have come as far as here, so enqueue.lua decides.
if call('EXISTS', ARGV[3]) == 1 then return 0 end
call(ARGV[5], ARGV[2], ARGV[4])  -- first: if the list's key is of another type, nothing is written
call('HSET', ARGV[3], unpack(ARGV, 6))
call('SADD', ARGV[1], ARGV[2])
return 1
