"""Keeps a pristine copy of the keys beside them, and tells which ones changed without sending them.

The server compares: a key's DUMP and expiry with those of its pristine copy, and where they differ
with the digest that was noted when it was loaded. It goes through the names itself, a page a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sandbox.errors import NoBaseline
from sandbox.stores.redis.reading import scan
from sandbox.stores.redis.session import OWN, Names, Wire, glob

NOTHING = b"\x00sandbox"  # in every such set: an empty one would not exist
CHUNK = 500  # keys in one script call: others are served in between
PAGE = 1_000  # names that one call looks at
FACTS = b"""
local function facts(key)
  local dump = redis.call('DUMP', key)
  if not dump then return false end
  return redis.sha1hex(dump) .. ':' .. redis.call('PEXPIRETIME', key)
end
"""
# A key that expired since it was listed is no error.
KEEP = (
    FACTS
    + b"""
for i = 4, #ARGV do
  local found = facts(ARGV[1] .. ARGV[i])
  if found then
    redis.call('COPY', ARGV[1] .. ARGV[i], ARGV[2] .. ARGV[i], 'REPLACE')
    redis.call('HSET', ARGV[3], ARGV[i], found)
  end
end
return #ARGV - 3
"""
)
# DUMP follows the order in memory, which a rehash changes: sets and hashes get a second look.
COMPARE = (
    FACTS
    + b"""
local function sorted(key, command)
  local all = redis.call(command, key)
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
  local kind = redis.call('TYPE', one)['ok']
  local command = ({set = 'SMEMBERS', hash = 'HGETALL'})[kind]
  if not command or redis.call('TYPE', other)['ok'] ~= kind then return false end
  if redis.call('PEXPIRETIME', one) ~= redis.call('PEXPIRETIME', other) then return false end
  local a, b = sorted(one, command), sorted(other, command)
  if #a ~= #b then return false end
  for i = 1, #a do if a[i] ~= b[i] then return false end end
  return true
end
local function untouched(now, was)
  if redis.call('PEXPIRETIME', now) ~= redis.call('PEXPIRETIME', was) then return false end
  local text = redis.pcall('GET', now)  -- of strings: DUMP would compress them
  if type(text) == 'string' then return text == redis.pcall('GET', was) end
  local dump = redis.call('DUMP', now)
  return dump and dump == redis.call('DUMP', was)
end
local function differs(name)
  local now, was = ARGV[1] .. name, ARGV[2] .. name
  if untouched(now, was) then return false end
  local found = facts(now)
  if found == redis.call('HGET', ARGV[3], name) then return false end
  local kept = redis.call('EXISTS', was) == 1
  return (found or kept) and not (found and kept and same(now, was))
end
local function begins(key, prefix) return string.sub(key, 1, #prefix) == prefix end
local page = redis.call('SCAN', ARGV[4], 'MATCH', ARGV[5], 'COUNT', ARGV[6])
local changed = {}
for _, key in ipairs(page[2]) do
  if begins(key, ARGV[2]) then  -- a pristine copy: only its own key can be missing
    local name = string.sub(key, #ARGV[2] + 1)
    if redis.call('EXISTS', ARGV[1] .. name) == 0 then changed[#changed + 1] = name end
  elseif begins(key, ARGV[1]) and not begins(key, ARGV[7]) then
    local name = string.sub(key, #ARGV[1] + 1)
    if differs(name) then changed[#changed + 1] = name end
  end
end
return {page[1], changed}
"""
)
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
    for chunk in _chunks(_under(wire, source)):
        wire.ask(b"EVAL", KEEP, b"0", source, names.base, names.keys(b"-base"), *chunk)
    wire.ask(b"SET", names.marker(b"-base"), baseline.encode())


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
    if kept != baseline.encode():
        raise NoBaseline("the pristine copy is another load's", where="redis", hint="./inv load")
    return sorted(set(_differing(wire, names)))


def _differing(wire: Wire, names: Names) -> Iterator[bytes]:
    """One look at all names of the server, a page a call; some come twice."""
    given = (names.prefix, names.base, names.keys(b"-base"))
    both = b"*" + glob(names.prefix)  # the keys and their pristine copies
    cursor = b"0"
    while True:
        asked = (*given, cursor, both, b"%d" % PAGE, OWN)
        cursor, found = wire.ask(b"EVAL", COMPARE, b"0", *asked)
        yield from found
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
