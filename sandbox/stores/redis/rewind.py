"""Keeps a pristine copy of the keys beside them, and tells which ones changed without sending them.

The server compares: a key's DUMP and expiry against the digest that was noted when it was loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sandbox.errors import NoBaseline
from sandbox.stores.redis.reading import scan
from sandbox.stores.redis.session import Names, Wire

NOTHING = b"\x00sandbox"  # in every such set: an empty one would not exist
CHUNK = 500  # keys in one script call: others are served in between
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
local changed = {}
for i = 4, #ARGV do
  local now, was = ARGV[1] .. ARGV[i], ARGV[2] .. ARGV[i]
  local found = facts(now)
  if found ~= redis.call('HGET', ARGV[3], ARGV[i]) then
    local kept = redis.call('EXISTS', was) == 1
    if (found or kept) and not (found and kept and same(now, was)) then
      changed[#changed + 1] = ARGV[i]
    end
  end
end
return changed
"""
)
COPY = b"""
for i = 3, #ARGV do redis.call('COPY', ARGV[1] .. ARGV[i], ARGV[2] .. ARGV[i], 'REPLACE') end
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
    listed = set(_under(wire, names.prefix)) | set(_noted(wire, names))
    found: list[bytes] = []
    for chunk in _chunks(listed):
        index = names.keys(b"-base")
        found += wire.ask(b"EVAL", COMPARE, b"0", names.prefix, names.base, index, *chunk)
    return sorted(found)


def stage(wire: Wire, names: Names, keys: Sequence[bytes]) -> None:
    """Copies of what the keys were, and a set of their names: how `swap` knows it is a part."""
    wire.ask(b"SADD", names.keys(b"-new"), NOTHING)
    for chunk in _chunks(keys):
        wire.ask(b"EVAL", COPY, b"0", names.base, names.new, *chunk)
        wire.ask(b"SADD", names.keys(b"-new"), *chunk)


def part(wire: Wire, key: bytes) -> list[bytes] | None:
    """The names in a set that `stage` left; None where a whole load is meant."""
    if wire.ask(b"TYPE", key) != b"set":
        return None
    return sorted(wire.ask(b"SMEMBERS", key))


def _under(wire: Wire, prefix: bytes) -> Iterator[bytes]:
    return (name[len(prefix) :] for name in scan(wire, prefix))


def _noted(wire: Wire, names: Names) -> Iterator[bytes]:
    cursor = b"0"
    while True:
        cursor, flat = wire.ask(b"HSCAN", names.keys(b"-base"), cursor, b"COUNT", b"1000")
        yield from flat[::2]
        if cursor == b"0":
            return


def _chunks(names: Sequence[bytes] | set[bytes] | Iterator[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for name in names:
        chunk.append(name)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
