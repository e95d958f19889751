"""What is tried against Redis: one command per way across, none of which leaves a trace.

The server looks at rights before it looks at arguments. So destructive commands are sent with an
argument that it cannot take, writes with a condition that no key meets or a source that is missing:
any answer but "no permission" means that the right is there, and still nothing happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.stores.redis.session import Names

NONE = b"sandbox_none"  # an argument that no command takes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`right`: the command, as access rules name it (or two), that alone must be missing.
    `nowhere`: at home it is missing, too, whatever the key."""

    tried: str
    right: str
    args: tuple[bytes, ...]
    nowhere: bool = False


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Key names. `theirs` may be planted; `home` and `absent` are never there."""

    theirs: bytes
    absent: bytes
    home: bytes
    production: bytes  # prefixes
    playground: bytes
    other_database: int


def _trial(tried: str, right: str, *args: bytes, nowhere: bool = False) -> Trial:
    return Trial(tried=tried, right=right, args=args, nowhere=nowhere)


def at_home(trial: Trial, targets: Targets) -> tuple[bytes, ...] | None:
    """The same command with the playground's own names, where it has no trace either; None where it
    names nothing of production's."""
    theirs, ours = targets.production, targets.playground
    args = tuple(ours + one[len(theirs) :] if one.startswith(theirs) else one for one in trial.args)
    return None if trial.nowhere or args == trial.args else args


def reads(t: Targets) -> Iterator[Trial]:
    """Ways for a value, a fact or a name to come over."""
    theirs, home = t.theirs, t.home
    yield _trial("read a production key", "get", b"GET", theirs)
    yield _trial("read it among its own", "mget", b"MGET", home, theirs)
    yield _trial("dump it", "dump", b"DUMP", theirs)
    yield _trial("ask whether it is there", "exists", b"EXISTS", theirs)
    yield _trial("ask its type", "type", b"TYPE", theirs)
    yield _trial("ask its expiry", "pttl", b"PTTL", theirs)
    yield _trial("ask how it is stored", "object|encoding", b"OBJECT", b"ENCODING", theirs)
    yield _trial("ask its size", "memory|usage", b"MEMORY", b"USAGE", theirs)
    yield _trial("watch it", "watch", b"WATCH", theirs)
    yield _trial("read a production list", "lrange", b"LRANGE", theirs, b"0", b"0")
    yield _trial("read a production hash", "hscan", b"HSCAN", theirs, b"0")
    yield _trial("read a production stream", "xread", b"XREAD", b"STREAMS", theirs, b"0")
    yield _trial("copy it home", "copy", b"COPY", theirs, home)
    yield _trial("unite it into its own", "sunionstore", b"SUNIONSTORE", home, theirs)
    yield _trial("rank it into its own", "zunionstore", b"ZUNIONSTORE", home, b"1", theirs)
    yield _trial("combine its bits", "bitop", b"BITOP", b"NOT", home, theirs)
    yield _trial("merge its count", "pfmerge", b"PFMERGE", home, theirs)
    yield _trial("compare it", "lcs", b"LCS", theirs, home)
    yield _trial("sort its own by production's keys", "sort",
                 b"SORT", home, b"BY", t.production + b"*", nowhere=True)  # fmt: skip
    yield _trial("sort its own and get production's", "sort_ro",
                 b"SORT_RO", home, b"GET", t.production + b"*", nowhere=True)  # fmt: skip
    yield _trial("read it in a script, declared", "eval +strlen",
                 b"EVAL", b"return redis.call('STRLEN', KEYS[1])", b"1", theirs)  # fmt: skip
    yield _trial("read it in a script, undeclared", "getrange",
                 b"EVAL", b"return redis.call('GETRANGE', ARGV[1], 0, 0)", b"0",
                 theirs)  # fmt: skip
    yield _trial("list names in a script", "keys",
                 b"EVAL", b"return redis.call('KEYS', ARGV[1])", b"0", NONE)  # fmt: skip
    for command in ("scan", "randomkey"):
        rest = (b"0", b"COUNT", b"1") if command == "scan" else ()
        yield _trial(f"see names with {command.upper()}", command, command.upper().encode(), *rest)
    yield _trial("see names with CLIENT TRACKING", "client|tracking",
                 b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX")  # fmt: skip
    yield _trial("see commands with SLOWLOG", "slowlog|get", b"SLOWLOG", b"GET", b"1")
    yield _trial("see clients", "client|list", b"CLIENT", b"LIST")


def writes(t: Targets) -> Iterator[Trial]:
    """Ways to make, change or remove a key of production's."""
    absent, home = t.absent, t.home
    yield _trial("write a production key", "set", b"SET", absent, b"x", b"XX")
    yield _trial("delete one", "del", b"DEL", absent)
    yield _trial("unlink one", "unlink", b"UNLINK", absent)
    yield _trial("let one expire", "pexpire", b"PEXPIRE", absent, b"1")
    yield _trial("rename one home", "rename", b"RENAME", absent, home)
    yield _trial("rename its own over one", "renamenx", b"RENAMENX", home, absent)
    yield _trial("take from a production list", "lmove",
                 b"LMOVE", absent, home, b"LEFT", b"LEFT")  # fmt: skip
    yield _trial("take from a production list, waiting", "blpop", b"BLPOP", absent, b"0.001")
    yield _trial("give to a production list", "rpushx", b"RPUSHX", absent, b"x")
    yield _trial("take from a production set", "smove", b"SMOVE", absent, home, b"x")
    yield _trial("store into a production set", "sinterstore", b"SINTERSTORE", absent, home)
    yield _trial("sort its own into a production list", "sort", b"SORT", home, b"STORE", absent)
    yield _trial("store places into production", "geosearchstore",
                 b"GEOSEARCHSTORE", absent, home, b"FROMLONLAT", b"0", b"0",
                 b"BYRADIUS", b"1", b"m")  # fmt: skip
    yield _trial("change a production hash", "hdel", b"HDEL", absent, b"x")
    yield _trial("change a production sorted set", "zadd",
                 b"ZADD", absent, b"XX", b"1", b"x")  # fmt: skip
    yield _trial("add to a production stream", "xadd",
                 b"XADD", absent, b"NOMKSTREAM", b"*", b"x", b"x")  # fmt: skip
    yield _trial("read for a production group", "xreadgroup",
                 b"XREADGROUP", b"GROUP", NONE, NONE, b"STREAMS", absent, b">")  # fmt: skip
    yield _trial("restore over a production key", "restore", b"RESTORE", absent, b"0", NONE)
    yield _trial("move one to another database", "move",
                 b"MOVE", absent, b"%d" % t.other_database, nowhere=True)  # fmt: skip
    yield _trial("write one in a script", "setrange",
                 b"EVAL", b"return redis.call('SETRANGE', ARGV[1], 0, '')", b"0",
                 absent)  # fmt: skip
    yield _trial("send one to another server", "migrate",
                 b"MIGRATE", b"127.0.0.1", b"1", absent, b"0", b"1", nowhere=True)  # fmt: skip
    theirs = Names(prefix=t.production).marker()
    yield _trial("forge production's marker", "getex", b"GETEX", theirs, NONE)
    own = Names(prefix=t.playground)
    yield _trial("forge its own marker", "append", b"APPEND", own.marker(), b"")
    yield _trial("write into a staged load", "setbit", b"SETBIT", own.new + NONE, b"-1", b"0")
    yield _trial("read what was put aside", "getbit", b"GETBIT", own.old + NONE, b"0")
    yield _trial("spoil the pristine copy", "incr", b"INCR", own.base)
    yield _trial("change the list of its names", "zrem", b"ZREM", own.keys(), NONE)


def powers(t: Targets) -> Iterator[Trial]:
    """Commands that a key pattern does not limit: whole databases, clients, the server."""
    yield _trial("empty every database", "flushall", b"FLUSHALL", NONE)
    yield _trial("empty the database", "flushdb", b"FLUSHDB", NONE)
    yield _trial("swap databases", "swapdb", b"SWAPDB", NONE, NONE)
    yield _trial("use another database", "select", b"SELECT", b"%d" % t.other_database)
    yield _trial("read the configuration", "config|get", b"CONFIG", b"GET", NONE)
    yield _trial("change the configuration", "config|set", b"CONFIG", b"SET", NONE, b"x")
    yield _trial("debug", "debug", b"DEBUG", NONE)
    yield _trial("stop the server", "shutdown", b"SHUTDOWN", NONE)
    yield _trial("save the server", "bgsave", b"BGSAVE", NONE)
    yield _trial("forget everyone's scripts", "script|flush", b"SCRIPT", b"FLUSH", NONE)
    yield _trial("forget everyone's functions", "function|flush", b"FUNCTION", b"FLUSH", NONE)
    yield _trial("replace everyone's functions", "function|load", b"FUNCTION", b"LOAD", NONE)
    yield _trial("read everyone's functions", "function|list",
                 b"FUNCTION", b"LIST", b"LIBRARYNAME", NONE)  # fmt: skip
    yield _trial("see logins", "acl|list", b"ACL", b"LIST")
    yield _trial("change logins", "acl|setuser", b"ACL", b"SETUSER", NONE, NONE)
    yield _trial("end another's connection", "client|kill", b"CLIENT", b"KILL", b"ID", b"0")
    yield _trial("pause everyone", "client|pause", b"CLIENT", b"PAUSE", NONE)
    yield _trial("wake another's connection", "client|unblock", b"CLIENT", b"UNBLOCK", b"0")
    yield _trial("see modules", "module|list", b"MODULE", b"LIST")
    yield _trial("make it a replica", "replicaof", b"REPLICAOF", NONE, NONE)
    yield _trial("become a replica", "psync", b"PSYNC", NONE, NONE)
    yield _trial("see channels", "pubsub|channels", b"PUBSUB", b"CHANNELS", NONE)
    yield _trial("copy everyone's functions", "function|dump", b"FUNCTION", b"DUMP")
    yield _trial("restore functions", "function|restore", b"FUNCTION", b"RESTORE", NONE)
    yield _trial("load a module", "module|load", b"MODULE", b"LOAD", NONE)
    yield _trial("see who was turned away", "acl|log", b"ACL", b"LOG", NONE)
    yield _trial("make it a replica, by the old name", "slaveof", b"SLAVEOF", NONE, NONE)
    yield _trial("hand its role to another server", "failover", b"FAILOVER", NONE)
    yield _trial("see its replicas", "role", b"ROLE")
    yield _trial("see when it was saved", "lastsave", b"LASTSAVE")
    yield _trial("see its slow moments", "latency|latest", b"LATENCY", b"LATEST")


def channels(t: Targets) -> Iterator[Trial]:
    """Channels have patterns of their own. Nobody listens to the canary's."""
    yield _trial("publish to a production channel", "publish", b"PUBLISH", t.absent, b"")
    yield _trial("publish to a production shard's channel", "spublish", b"SPUBLISH", t.absent, b"")
    yield _trial("listen to a production channel", "subscribe", b"SUBSCRIBE", t.absent)
    yield _trial("listen to production's channels", "psubscribe",
                 b"PSUBSCRIBE", t.production + b"*")  # fmt: skip
    yield _trial("listen to every channel", "psubscribe", b"PSUBSCRIBE", b"*")
    yield _trial("listen to changes of keys", "psubscribe", b"PSUBSCRIBE", b"__key*__:*")
    yield _trial("listen to a shard's channel", "ssubscribe", b"SSUBSCRIBE", t.absent)


def watching() -> Trial:
    """Kept apart: it turns the connection into a listener where it is allowed."""
    return _trial("see every command", "monitor", b"MONITOR")


def reader_writes(t: Targets) -> Iterator[Trial]:
    """The reader against production, and against the playground."""
    yield from (one for one in writes(t) if t.absent in one.args and one.args[0] != b"EVAL")
    yield from (trial for trial in powers(t) if trial.right != "select")
    yield _trial("publish to production", "publish", b"PUBLISH", t.absent, b"")
    yield _trial("run a script", "eval", b"EVAL", b"return 1", b"0")
    yield _trial("write into its own list", "lpushx", b"LPUSHX", t.absent, b"x")
    yield _trial("read a playground key", "get", b"GET", t.home)
    yield _trial("see names with RANDOMKEY", "randomkey", b"RANDOMKEY")
