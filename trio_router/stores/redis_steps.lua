-- The counters of many machines: one script, one atomic step a call.
--
--   era              a number that rises whenever what was spent is to be read again from the ledger
--   run              the server's run in which the era began
--   w                workers: name -> when the lease ends (sorted set)
--   k:WORKER         a: how many ticks the server's clock is ahead, n: number of the last batch
--   c:WORKER         counters of which it holds something (set)
--   o:WORKER         ids of its reserved rows (set)
--   h:COUNTER        what is held: total, and w<worker>
--   m:COUNTER        a sliding minute: n: total, and tick -> amount that leaves then
--   z:COUNTER        its ticks (sorted set)
--   s:ERA:COUNTER    what was spent, as the ledger said: n, in the version v
--   p:COUNTER        what was spent by rows of which the ledger has not said that it has them
--   r:ID             a row: s: state, w: worker, o: who told of it, c: charges, b: body, e: when it was
--                    ended; p: whether its charges are in p:COUNTER.  It stays for a while when the
--                    ledger has it, so that it is known again.
--   u                ids of ended rows that the ledger has yet to confirm -> since when (sorted set)
--
-- Lua's numbers are exact up to 2^53; amounts are added by Redis itself, in 64 bits.
local P, TICK, MINUTE, SLICE = '{trio-router}:', @TICK@, @MINUTE@, @SLICE@
local KEPT, READ_AGAIN, SWEEP, MOST = 600, 7200, 5, 500 -- s, s, s, rows
local call, floor, ceil = redis.call, math.floor, math.ceil

-- Plus zero: Lua would write a negative zero as -0, which is no integer to Redis.
local function int(number) return string.format('%.0f', number + 0) end

local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
end
local function leaves(after) return ceil((now + after) / TICK) end
local tick = floor(now / TICK)
local era = call('GET', P .. 'era')

-- sliding minutes

local function counted(counter)
  local minute, ticks = P .. 'm:' .. counter, P .. 'z:' .. counter
  local left = call('ZRANGEBYSCORE', ticks, '-inf', int(tick))
  for first = 1, #left, 1000 do
    local some = {unpack(left, first, math.min(first + 999, #left))}
    local sum = 0
    for _, amount in ipairs(call('HMGET', minute, unpack(some))) do
      sum = sum + (tonumber(amount) or 0)
    end
    call('HDEL', minute, unpack(some))
    call('HINCRBY', minute, 'n', int(-sum))
    call('ZREM', ticks, unpack(some))
  end
  return tonumber(call('HGET', minute, 'n')) or 0
end

local function count(counter, amount, at)
  local minute, ticks, name = P .. 'm:' .. counter, P .. 'z:' .. counter, int(at)
  local known = tonumber(call('HGET', minute, name))
  if not known and amount <= 0 then return end
  if amount < -(known or 0) then amount = -known end
  call('HINCRBY', minute, name, int(amount))
  call('HINCRBY', minute, 'n', int(amount))
  call('ZADD', ticks, name, name)
  call('EXPIRE', minute, MINUTE + 10)
  call('EXPIRE', ticks, MINUTE + 10)
end

-- The tick at which `over` less is counted.
local function room_at(counter, over)
  local last = tick
  for _, at in ipairs(call('ZRANGE', P .. 'z:' .. counter, 0, -1)) do
    if over <= 0 then break end
    over = over - (tonumber(call('HGET', P .. 'm:' .. counter, at)) or 0)
    last = tonumber(at)
  end
  return int(last)
end

-- holdings

local function held(counter) return tonumber(call('HGET', P .. 'h:' .. counter, 'total')) or 0 end

local function hold(counter, worker, amount)
  call('HINCRBY', P .. 'h:' .. counter, 'w' .. worker, int(amount))
  call('HINCRBY', P .. 'h:' .. counter, 'total', int(amount))
  call('SADD', P .. 'c:' .. worker, counter)
end

local function give_back(counter, worker, amount)
  local has = tonumber(call('HGET', P .. 'h:' .. counter, 'w' .. worker))
  if not has then return end
  local less = math.min(has, math.max(0, amount))
  call('HINCRBY', P .. 'h:' .. counter, 'w' .. worker, int(-less))
  call('HINCRBY', P .. 'h:' .. counter, 'total', int(-less))
end

local function spent(counter)
  local said = call('HGET', P .. 's:' .. era .. ':' .. counter, 'n')
  return said and tonumber(said) + (tonumber(call('GET', P .. 'p:' .. counter)) or 0)
end

local function set_spent(counter, version, amount)
  local name = P .. 's:' .. era .. ':' .. counter
  local known = tonumber(call('HGET', name, 'v'))
  if not known or known <= tonumber(version) then
    call('HSET', name, 'v', version, 'n', amount)
    call('EXPIRE', name, READ_AGAIN)
  end
end

-- rows

local function pending(row, charges, add)
  for counter, amount in pairs(cjson.decode(charges)) do
    local name = P .. 'p:' .. counter
    if call(add, name, amount) == 0 then call('DEL', name) end
  end
  if add == 'INCRBY' then call('HSET', row, 'p', '1') else call('HDEL', row, 'p') end
end

local function withdraw(row)
  if call('HGET', row, 'p') then pending(row, call('HGET', row, 'c'), 'DECRBY') end
end

-- A reserved row ends, as `state`.
local function settle(id, state, charges, worker, gives)
  local row = P .. 'r:' .. id
  withdraw(row)
  local owner = call('HGET', row, 'o')
  if owner then call('SREM', P .. 'o:' .. owner, id) end
  if gives then
    for counter, amount in pairs(cjson.decode(charges)) do
      give_back(counter, worker, tonumber(amount))
    end
  end
  call('HSET', row, 's', state, 'c', charges)
  pending(row, charges, 'INCRBY')
  call('ZADD', P .. 'u', now, id)
  call('PERSIST', row)
end

local function write(sender, is_alive, said)
  local row = P .. 'r:' .. said.id
  local known = call('HGET', row, 's')
  if known == 'settled' or (known == 'expired' and said.state ~= 'settled') then return end
  if said.state == 'reserved' then
    if not is_alive then return end -- nobody would end it; the ledger knows it
    local owner = call('HGET', row, 'o')
    if owner and owner ~= sender then call('SREM', P .. 'o:' .. owner, said.id) end
    call('HSET', row, 's', 'reserved', 'o', sender, 'w', said.worker, 'c', said.charges, 'b', said.body)
    call('SADD', P .. 'o:' .. sender, said.id)
    return
  end
  settle(said.id, said.state, said.charges, said.worker, not known or known == 'reserved')
  call('HSET', row, 'w', said.worker, 'b', said.body)
  call('HDEL', row, 'e')
end

-- Ends what belongs to a worker; adds its rows that end to `ended`.
local function finish(worker, ended)
  for _, id in ipairs(call('SMEMBERS', P .. 'o:' .. worker)) do
    local row = P .. 'r:' .. id
    settle(id, 'expired', call('HGET', row, 'c'), call('HGET', row, 'w'), true)
    call('HSET', row, 'e', string.format('%.6f', now))
    ended[#ended + 1] = id
  end
  for _, counter in ipairs(call('SMEMBERS', P .. 'c:' .. worker)) do
    local name = P .. 'h:' .. counter
    local has = call('HGET', name, 'w' .. worker)
    if has then
      call('HDEL', name, 'w' .. worker)
      if call('HINCRBY', name, 'total', int(-tonumber(has))) == 0 and call('HLEN', name) == 1 then
        call('DEL', name)
      end
    end
  end
  call('DEL', P .. 'o:' .. worker, P .. 'c:' .. worker, P .. 'k:' .. worker)
  call('ZREM', P .. 'w', worker)
end

local function is_alive(worker)
  local ends = tonumber(call('ZSCORE', P .. 'w', worker))
  return ends and ends > now
end

-- Ids, states, ends and bodies, in four places each.
local function told(ids)
  local found = {}
  for _, id in ipairs(ids) do
    local row = call('HMGET', P .. 'r:' .. id, 's', 'e', 'b')
    if row[3] then
      for _, value in ipairs({id, row[1], row[2] or '', row[3]}) do found[#found + 1] = value end
    else
      call('ZREM', P .. 'u', id)
    end
  end
  return found
end

local function unknown(kind, counter, found)
  if kind == 'budget' and not spent(counter) then found[#found + 1] = counter end
end

-- steps

local steps = {}

-- run: another run of the server has lost something, or has it from before.
function steps.check(run)
  if not era or call('GET', P .. 'run') ~= run then
    call('INCR', P .. 'era')
    call('SET', P .. 'run', run)
    for _, worker in ipairs(call('ZRANGE', P .. 'w', 0, -1)) do call('ZADD', P .. 'w', 0, worker) end
  end
  return {'ok'}
end

-- What was spent is to be read again from the ledger.
function steps.renew()
  call('INCR', P .. 'era')
  return {'ok'}
end

-- worker, lease, worker's time
function steps.join(worker, lease, here)
  call('ZADD', P .. 'w', now + lease, worker)
  call('DEL', P .. 'k:' .. worker)
  call('HSET', P .. 'k:' .. worker, 'a', int(floor((now - here) / TICK + 0.5)), 'n', '0')
  return {'ok'}
end

-- worker; for each want: counter, kind, most ('' of a soft one), amount, extra, half of most
-- taken: for each want: used, extra, at, extra at.  refused: now; for each: place, used, tick of room
function steps.take(worker, ...)
  if not is_alive(worker) then return {'lost'} end
  local wants, missing, refused, used = {...}, {'unknown'}, {'refused', string.format('%.6f', now)}, {}
  for place = 1, #wants, 6 do unknown(wants[place + 1], wants[place], missing) end
  if #missing > 1 then return missing end
  for place = 1, #wants, 6 do
    local counter, kind, most = wants[place], wants[place + 1], tonumber(wants[place + 2])
    local amount, slides = tonumber(wants[place + 3]), kind == 'requests' or kind == 'tokens'
    local now_used = slides and counted(counter) or held(counter) + (kind == 'budget' and spent(counter) or 0)
    used[place] = now_used
    if most and now_used + amount > most then
      local at = slides and amount <= most and room_at(counter, now_used + amount - most) or ''
      for _, value in ipairs({int((place - 1) / 6), int(now_used), at}) do
        refused[#refused + 1] = value
      end
    end
  end
  if #refused > 2 then return refused end
  local ahead = tonumber(call('HGET', P .. 'k:' .. worker, 'a')) or 0
  local taken, at, extra_at = {'taken'}, leaves(MINUTE), leaves(MINUTE + SLICE)
  for place = 1, #wants, 6 do
    local counter, kind, amount = wants[place], wants[place + 1], tonumber(wants[place + 3])
    local half = tonumber(wants[place + 5])
    local total = used[place] + amount
    -- of what is left above one half, an eighth
    local extra = math.max(0, math.min(tonumber(wants[place + 4]), floor((half - total) / 8)))
    local is_sliding = kind == 'requests' or kind == 'tokens'
    if is_sliding then
      count(counter, amount, at)
      count(counter, extra, extra_at)
    else
      hold(counter, worker, amount + extra)
    end
    local values = {int(total + extra), int(extra), '0', '0'}
    if is_sliding then values[3], values[4] = int(at - ahead), int(extra_at - ahead) end
    for _, value in ipairs(values) do taken[#taken + 1] = value end
  end
  return taken
end

-- a batch, as JSON: worker, number, lease, rows, changes
function steps.sync(text)
  local batch = cjson.decode(text)
  local worker, alive = batch.worker, is_alive(batch.worker)
  local name = P .. 'k:' .. worker
  local last = tonumber(call('HGET', name, 'n')) or 0
  if alive then
    call('ZADD', P .. 'w', now + batch.lease, worker)
    if batch.number > last then call('HSET', name, 'n', int(batch.number)) end
  end
  if batch.number > last or not alive then
    for _, row in ipairs(batch.rows) do write(worker, alive, row) end
  end
  if batch.number > last and alive then
    local ahead = tonumber(call('HGET', name, 'a')) or 0
    for _, change in ipairs(batch.changes) do
      local counter, amount, at = change[1], tonumber(change[2]), tonumber(change[3])
      if at == 0 then
        give_back(counter, worker, -amount)
      elseif at + ahead > ceil(now / TICK) then
        counted(counter)
        count(counter, amount, math.min(at + ahead, leaves(MINUTE + SLICE)))
      end
    end
  end
  return {'ok', alive and '1' or '0'}
end

-- as JSON: rows that the ledger has (id, state), what it says of counters (counter, version, amount)
function steps.confirm(text)
  local said = cjson.decode(text)
  for _, spent_now in ipairs(said.spent) do set_spent(unpack(spent_now)) end
  for _, one in ipairs(said.rows) do
    local row, state = P .. 'r:' .. one[1], call('HGET', P .. 'r:' .. one[1], 's')
    if state == one[2] or (state and one[2] == 'settled') then
      call('ZREM', P .. 'u', one[1])
      withdraw(row)
      if state ~= 'reserved' then
        call('HDEL', row, 'b')
        call('EXPIRE', row, KEPT)
      end
    end
  end
  return {'ok'}
end

-- how many rows ended; those, and then others that the ledger has not confirmed for a while
function steps.expire()
  local ended = {}
  for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'w', '-inf', now)) do finish(worker, ended) end
  local rows = told(ended)
  local count_ended = #rows / 4
  local late = call('ZRANGEBYSCORE', P .. 'u', '-inf', now - SWEEP, 'LIMIT', 0, MOST)
  for _, value in ipairs(told(late)) do rows[#rows + 1] = value end
  return {'ok', int(count_ended), rows}
end

function steps.leave(worker)
  local ended = {}
  finish(worker, ended)
  return {'ok', int(#ended), told(ended)}
end

-- names of the workers whose leases have not ended
function steps.alive()
  return {'ok', call('ZRANGEBYSCORE', P .. 'w', '(' .. now, '+inf')}
end

-- for each ceiling: counter, kind.  Gives: used, held
function steps.levels(...)
  local ceilings, missing, found = {...}, {'unknown'}, {'ok'}
  for place = 1, #ceilings, 2 do unknown(ceilings[place + 1], ceilings[place], missing) end
  if #missing > 1 then return missing end
  for place = 1, #ceilings, 2 do
    local counter, kind = ceilings[place], ceilings[place + 1]
    if kind == 'requests' or kind == 'tokens' then
      found[#found + 1], found[#found + 2] = int(counted(counter)), '0'
    else
      found[#found + 1] = int(kind == 'budget' and spent(counter) or 0)
      found[#found + 1] = int(held(counter))
    end
  end
  return found
end

if not era and ARGV[1] ~= 'check' then return {'era'} end
return steps[ARGV[1]](unpack(ARGV, 3))
