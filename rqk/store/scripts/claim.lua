-- Start the next job. ARGV: the arguments of claim() in lib.lua. Returns what claim() returns.
return claim()
