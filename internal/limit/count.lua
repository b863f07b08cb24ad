-- Counts of limits; KEYS are a hash and a sorted set for each. The hash has what is used, what is held by
-- reservations, and (of a rate) at what time that was; the set has the reservations as ID:AMOUNT, by the time
-- at which their instance must be gone. All numbers are whole and below 2^53.
--
-- ARGV: take, settle or peek; the reservation's id; how long it may last (us); then, for each count: its kind, what
-- the limit allows, what is reserved, what was used (settle), and a budget's period, from and until (us).
--
-- Returns 1 (done), 0 (it does not fit: nothing was done) or -1 (the period is not this server's), the time (us), and
-- used and held of each count.
local DRAIN, GRACE = 60000000, 86400000000
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local what, id, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function text(number) return string.format('%.0f', number) end

local counts, fit = {}, 1
for i = 1, #KEYS / 2 do
  local a = 4 + (i - 1) * 6
  local c = {
    hash = KEYS[2 * i - 1], set = KEYS[2 * i], kind = ARGV[a], most = tonumber(ARGV[a + 1]), amount = tonumber(ARGV[a + 2]),
    spent = tonumber(ARGV[a + 3]), from = tonumber(ARGV[a + 4]), to = tonumber(ARGV[a + 5]), unit = 1,
  }
  if what ~= 'settle' and c.to > 0 and (now < c.from or now >= c.to) then return {-1, now} end
  local have = redis.call('HMGET', c.hash, 'used', 'held', 'at')
  c.used, c.held = tonumber(have[1] or 0), tonumber(have[2] or 0)
  c.rate = c.kind == 'requests_per_minute' or c.kind == 'tokens_per_minute'
  if c.rate then
    c.unit = DRAIN
    local at = tonumber(have[3] or now)
    if now > at then c.used = math.max(0, c.used - (now - at) * c.most) end -- a clock that went back gives nothing
  end
  -- What an instance that is gone had reserved: a budget's is spent for all we know.
  c.gone = redis.call('ZRANGEBYSCORE', c.set, '-inf', text(now))
  for _, member in ipairs(c.gone) do
    local amount = tonumber(string.match(member, ':(%d+)$'))
    c.held = math.max(0, c.held - amount)
    if c.to > 0 then c.used = c.used + amount end
  end
  if what == 'take' and c.used + (c.held + c.amount - c.most) * c.unit > 0 then fit = 0 end
  counts[i] = c
end

local answer = {fit, now}
for i, c in ipairs(counts) do
  if fit == 1 and what ~= 'peek' then
    for _, member in ipairs(c.gone) do redis.call('ZREM', c.set, member) end
    local reservation = id .. ':' .. text(c.amount)
    if what == 'settle' then
      -- It isn't there where the server lost it, or never got it: then only what was used counts.
      if redis.call('ZREM', c.set, reservation) == 1 then c.held = math.max(0, c.held - c.amount) end
      if c.kind ~= 'concurrent_requests' then c.used = c.used + c.spent * c.unit end
    elseif c.kind == 'requests_per_minute' then
      c.used = c.used + c.amount * c.unit
    else
      c.held = c.held + c.amount
      redis.call('ZADD', c.set, text(now + lease), reservation)
      redis.call('PEXPIRE', c.set, text((lease + GRACE) / 1000))
    end
    c.used = math.min(c.used, 9007199254740991)
    redis.call('HSET', c.hash, 'used', text(c.used), 'held', text(c.held), 'at', text(now))
    local last = lease + GRACE
    if c.rate then last = last + c.used / c.most end
    if c.to > 0 then last = last + math.max(0, c.to - now) end
    redis.call('PEXPIRE', c.hash, text(math.ceil(last / 1000)))
  end
  answer[#answer + 1] = c.used
  answer[#answer + 1] = c.held
end
return answer
