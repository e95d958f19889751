"""Keeps a pristine copy of the keys beside them, and tells which ones changed without sending them.

The server compares: a key's DUMP and expiry with those of its pristine copy, and where they differ
with the digest that was noted when it was loaded. It goes through the names itself, a page a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sandbox.errors import NoBaseline
from sandbox.stores.redis.reading import scan
from sandbox.stores.redis.session import OWN, Names, Wire, glob

NEVER = 1 << 62  # ms, when nothing expires
NOTHING = b"\x00sandbox"  # in every such set: an empty one would not exist
CHUNK = 500  # keys in one script call: others are served in between
PAGE = 2_000  # names that one call looks at
FACTS = b"""
local call = redis.call  -- a global is looked up by its name at each use
local function facts(key)
  local dump = call('DUMP', key)
  if not dump then return false end
  return redis.sha1hex(dump) .. ':' .. call('PEXPIRETIME', key)
end
"""
# A key that expired since it was listed is no error.
KEEP = (
    FACTS
    + b"""
local first = -1
for i = 4, #ARGV do
  local found = facts(ARGV[1] .. ARGV[i])
  if found then
    local expiry = call('PEXPIRETIME', ARGV[1] .. ARGV[i])
    if expiry >= 0 and (first < 0 or expiry < first) then first = expiry end
    call('COPY', ARGV[1] .. ARGV[i], ARGV[2] .. ARGV[i], 'REPLACE')
    call('HSET', ARGV[3], ARGV[i], found)
  end
end
return first
"""
)
# DUMP follows the order in memory, which a rehash changes: sets and hashes get a second look.
COMPARE = (
    FACTS
    + b"""
local function sorted(key, command)
  local all = call(command, key)
  if command == 'SMEMBERS' then table.sort(all) return all end
  local pairs_of = {}
  for i = 1, #all, 2 do
    local ttl = redis.pcall('HPEXPIRETIME', key, 'FIELDS', 1, all[i])
    pairs_of[#pairs_of + 1] = cjson.encode({all[i], all[i + 1], type(ttl) == 'table' and ttl[1]})
  end
  table.sort(pairs_of)
  return pairs_of
end
local function same(one, other)
  local kind = call('TYPE', one)['ok']
  local command = ({set = 'SMEMBERS', hash = 'HGETALL'})[kind]
  if not command or call('TYPE', other)['ok'] ~= kind then return false end
  if call('PEXPIRETIME', one) ~= call('PEXPIRETIME', other) then return false end
  local a, b = sorted(one, command), sorted(other, command)
  if #a ~= #b then return false end
  for i = 1, #a do if a[i] ~= b[i] then return false end end
  return true
end
local pcall, type, sub = redis.pcall, type, string.sub
local function untouched(now, was)
  if call('PEXPIRETIME', now) ~= call('PEXPIRETIME', was) then return false end
  local text = pcall('GET', now)  -- of strings: DUMP would compress them
  if type(text) == 'string' then return text == pcall('GET', was) end
  local dump = call('DUMP', now)
  return dump and dump == call('DUMP', was)
end
local missing = 0
local function differs(now, was, name)
  if untouched(now, was) then return false end
  local found = facts(now)
  if found == call('HGET', ARGV[3], name) then return false end
  local kept = call('EXISTS', was) == 1
  if kept and not found then missing = missing + 1 end
  return (found or kept) and not (found and kept and same(now, was))
end
local page = call('SCAN', ARGV[4], 'MATCH', ARGV[5], 'COUNT', ARGV[6])
local changed, live, copies = {}, 0, 0
for _, key in ipairs(page[2]) do
  if sub(key, 1, #ARGV[2]) == ARGV[2] then
    local name = sub(key, #ARGV[2] + 1)
    copies = copies + 1
    if differs(ARGV[1] .. name, key, name) then changed[#changed + 1] = name end
  elseif sub(key, 1, #ARGV[1]) == ARGV[1] and sub(key, 1, #ARGV[7]) ~= ARGV[7] then
    live = live + 1
  end
end
return {page[1], changed, live, copies, missing}
"""
)
NEW = b"""
local page = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[4], 'COUNT', ARGV[5])
local new = {}
for _, key in ipairs(page[2]) do
  local name = string.sub(key, #ARGV[1] + 1)
  if string.sub(key, 1, #ARGV[6]) ~= ARGV[6] and redis.call('EXISTS', ARGV[2] .. name) == 0 then
    new[#new + 1] = name
  end
end
return {page[1], new}
"""
COPY = b"""
for i = 3, #ARGV do
  local source, target = ARGV[1] .. ARGV[i], ARGV[2] .. ARGV[i]
  if redis.call('COPY', source, target, 'REPLACE') == 0 then redis.call('UNLINK', target) end
end
return #ARGV - 2
"""


def keep(wire: Wire, names: Names, source: bytes, baseline: str) -> None:
    """Copy what lies under `source`; the baseline's name goes last."""
    forget(wire, names)
    expiries = []
    for chunk in _chunks(_under(wire, source)):
        given = (source, names.base, names.keys(b"-base"), *chunk)
        expiries.append(int(wire.ask(b"EVAL", KEEP, b"0", *given)))
    first = min((one for one in expiries if one >= 0), default=NEVER)
    wire.ask(b"SET", names.marker(b"-base"), b"%b %d" % (baseline.encode(), first))


def forget(wire: Wire, names: Names) -> None:
    wire.ask(b"DEL", names.marker(b"-base"))
    wire.ask(b"UNLINK", names.keys(b"-base"))
    for chunk in _chunks(_under(wire, names.base)):
        wire.ask(b"UNLINK", *(names.base + name for name in chunk))


def changed(wire: Wire, names: Names, baseline: str) -> list[bytes]:
    """Names, without the prefix, of keys that are not as they were loaded. Raises NoBaseline."""
    kept = wire.ask(b"GET", names.marker(b"-base"))
    if not baseline or kept is None:
        raise NoBaseline("no pristine copy is kept", where="redis", hint="./inv load")
    named, _, first = kept.partition(b" ")
    if named != baseline.encode():
        raise NoBaseline("the pristine copy is another load's", where="redis", hint="./inv load")
    found, live, copies, missing = _compared(wire, names)
    noted = int(wire.ask(b"HLEN", names.keys(b"-base")))
    now = int(wire.ask(b"TIME")[0]) * 1000
    if missing or not live == copies == noted or now >= int(first or 0):
        found += _new(wire, names)
    return sorted(set(found))


def _compared(wire: Wire, names: Names) -> tuple[list[bytes], int, int, int]:
    """Every pristine copy with its key, in one look at all names of the server, a page a call; how
    many keys and copies there are, and copies without a key. SCAN may tell a name twice and never
    leaves one out: where no copy can have expired and every one has its key, as many keys as copies
    are the same ones, and there is no new one."""
    given = (names.prefix, names.base, names.keys(b"-base"))
    found: list[bytes] = []
    counts = [0, 0, 0]
    both = b"*" + glob(names.prefix)  # the keys and their copies
    for changed, *more in _pages(wire, COMPARE, given, both):
        found += changed
        counts = [one + other for one, other in zip(counts, more, strict=True)]
    return found, counts[0], counts[1], counts[2]


def _new(wire: Wire, names: Names) -> list[bytes]:
    """Keys without a copy."""
    pages = _pages(wire, NEW, (names.prefix, names.base), glob(names.prefix))
    return [name for (new,) in pages for name in new]


def _pages(
    wire: Wire, script: bytes, given: Sequence[bytes], pattern: bytes
) -> Iterator[list[Any]]:
    """What a script says of each page of the server's names."""
    cursor = b"0"
    while True:
        asked = (*given, cursor, pattern, b"%d" % PAGE, OWN)
        cursor, *said = wire.ask(b"EVAL", script, b"0", *asked)
        yield said
        if cursor == b"0":
            return


def stage(wire: Wire, names: Names, keys: Sequence[bytes]) -> None:
    """Copies of what the keys were, and a set of their names: how `swap` knows it is a part."""
    wire.ask(b"SADD", names.keys(b"-new"), NOTHING)
    for chunk in _chunks(keys):
        wire.ask(b"SADD", names.keys(b"-new"), *chunk)  # first: `drop` knows the copies by it
        wire.ask(b"EVAL", COPY, b"0", names.base, names.new, *chunk)


def drop(wire: Wire, names: Names, part: Sequence[bytes]) -> None:
    """What a part left beside: as it came, or as it was."""
    for chunk in _chunks(part):
        wire.ask(b"UNLINK", *(prefix + name for prefix in (names.new, names.old) for name in chunk))


def part(wire: Wire, key: bytes) -> list[bytes] | None:
    """The names in a set that `stage` left; None where a whole load is meant."""
    if wire.ask(b"TYPE", key) != b"set":
        return None
    return sorted(wire.ask(b"SMEMBERS", key))


def _under(wire: Wire, prefix: bytes) -> Iterator[bytes]:
    return (name[len(prefix) :] for name in scan(wire, prefix))


def _chunks(names: Sequence[bytes] | set[bytes] | Iterator[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for name in names:
        chunk.append(name)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
