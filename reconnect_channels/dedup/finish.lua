-- Stores the answer of a message whose claim is still this token's, and advances its producer.
--
-- KEYS  answer (hash), producer (its last n)
-- ARGV  1 token, 2 answer, 3 n, 4 and 5 lives of the keys (ms)
-- Returns 1, or 0 when the claim is another's or forgotten
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'answer', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local last = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[3]))
redis.call('SET', KEYS[2], string.format('%.0f', last), 'PX', ARGV[5])
return 1
