-- Store a job of an id that was made just now, and push it: every enqueue of the usual kind runs it.
-- ARGV: key of the set of queues, key of the list, key of the job, job id, RPUSH or LPUSH, then fields and values in turn.
-- If the id exists, this is a second try whose first one's answer was lost: it was done then, and the job may have ended since.
if call('EXISTS', ARGV[3]) == 1 then return end
call(ARGV[5], ARGV[2], ARGV[4])  -- first: if the list's key is of another type, nothing is written
call('HSET', ARGV[3], unpack(ARGV, 6))
call('SADD', ARGV[1], ARGV[2])
