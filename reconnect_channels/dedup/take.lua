-- Claims a message, or says why not (design 8.5). Its own token is no other's: the call may be repeated.
--
-- KEYS  answer (hash: digest, token, until, answer), producer (its last n)
-- ARGV  1 token, 2 digest of the payload, 3 n, 4 settled, 5 lease (ms), 6 and 7 lives of the keys (ms)
-- Returns '' = claimed, a word, or the answer
local last = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[4]))
redis.call('SET', KEYS[2], string.format('%.0f', last), 'PX', ARGV[7])
local known = redis.call('HMGET', KEYS[1], 'digest', 'token', 'until', 'answer')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if known[1] then
  if known[1] ~= ARGV[2] then return cmsgpack.pack('reused') end
  if known[4] then return cmsgpack.pack(known[4]) end
  if known[2] ~= ARGV[1] and tonumber(known[3]) > now then return cmsgpack.pack('busy') end
elseif tonumber(ARGV[3]) <= last then
  return cmsgpack.pack('expired')
elseif tonumber(ARGV[3]) > last + 1 then
  return cmsgpack.pack('order')
end
redis.call('HSET', KEYS[1], 'digest', ARGV[2], 'token', ARGV[1], 'until', string.format('%.0f', now + ARGV[5]))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return cmsgpack.pack('')
