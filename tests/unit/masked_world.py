"""The demo's world through the demo's policy, without servers: what a snapshot would hold."""

from __future__ import annotations

import io
import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import fill_files, fill_mongo, fill_qdrant, fill_redis
from demo.rows import ISOLATED
from demo.world import World
from sandbox.masking import sql
from sandbox.masking.leaks import scan
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.masking.strategies import make
from sandbox.model import Dataset, Entry, Field, FileEntry, Point

ROOT = Path(__file__).parents[2]
POLICY = (ROOT / "masking.toml").read_text()
JSON = {"metadata", "result", "details", "attributes"}
TYPES = {"tags": "text[]", "speakers": "text[]", "keywords": "text[]", "birthday": "date",
         "embedding": "vector(128)", "centroid": "vector(128)",
         "last_ip": "inet", "actor_ip": "inet", "worker_ip": "inet"}  # fmt: skip
COMMANDS = {"HSET": "hash", "SADD": "set", "RPUSH": "list", "SET": "string", "ZADD": "zset",
            "XADD": "stream"}  # fmt: skip
Streams = Mapping[str, bytes]


@dataclass(frozen=True)
class Masked:
    """`streams`: what every dataset holds after masking, by `kind: dataset`."""

    mask: PolicyMask
    streams: Streams

    def suspects(self) -> list[tuple[str, str, str]]:
        return [
            (name, found.rule, found.text)
            for name, stream in self.streams.items()
            for found in scan([stream], self.mask.originals, dataset=name)
        ]


def masked(world: World, key: str, policy: str = POLICY) -> Masked:
    mask = PolicyMask(parse(policy, file="masking.toml"), key=key)
    streams: dict[str, bytes] = dict(postgres(mask, world))
    for kind in (mongo, qdrant, redis, files):
        streams |= dict(kind(mask, world))
    assert not mask.uncovered, dict(mask.uncovered)
    return Masked(mask, streams)


def dataset(table: Any) -> Dataset:
    fields = tuple(
        Field(name=name, type="jsonb" if name in JSON else TYPES.get(name, "text"))
        for name in table.columns
    )
    return Dataset(store="postgres", name=table.name, fields=fields)


def postgres(mask: PolicyMask, world: World) -> Iterator[tuple[str, bytes]]:
    """By Python: the property test of both routes says that PostgreSQL makes the same."""
    held = [(table, dataset(table), list(table.rows(world))) for table in ISOLATED]
    for table, one, rows in held:
        if columns := mask.searched(one):
            places = [table.columns.index(name) for name in columns]
            for at in range(0, len(rows), 500):
                lines = [_line(row[place] for place in places) for row in rows[at : at + 500]]
                mask.take(one, columns, "".join(lines).encode())
    for table, one, rows in held:
        functions = _functions(mask, one)
        yield (
            f"postgres: {table.name}",
            b"\0\x10".join(
                _framed(functions.get(name), value)
                for row in rows
                for name, value in zip(table.columns, row, strict=True)
            ),
        )


def _line(values: Iterable[Any]) -> str:
    """As in COPY text."""
    return "\t".join(r"\N" if one is None else _escaped(_text(one)) for one in values) + "\n"


def _escaped(text: str) -> str:
    for plain, letter in (("\\", "\\"), ("\t", "t"), ("\n", "n"), ("\r", "r")):
        text = text.replace(plain, f"\\{letter}")
    return text


def _functions(mask: PolicyMask, one: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {name: _of_one(many) for name, many in mask.texts(one).items()}
    tree = mask._policy.postgres[one.name]
    for field in one.fields:
        if field.name in mask.columns(one):
            node = tree.children[field.name]
            rule = node.rule or node.children["[]"].rule
            assert rule is not None
            function = make(rule, mask._tools, sql.limits(field))
            found[field.name] = _each(function) if node.rule is None else function
    return found


def _of_one(many: Any) -> Any:
    return lambda value: many([value])[0]


def _each(function: Any) -> Any:
    return lambda value: "{" + ",".join(function(one) for one in value[1:-1].split(",")) + "}"


def _framed(function: Any, value: Any) -> bytes:
    """Length and bytes, as in binary COPY; vectors as pgvector sends them."""
    if value is None:
        return b"\xff\xff\xff\xff"
    if isinstance(value, bytes):
        return struct.pack(">i", len(value)) + value
    made = _text(value) if function is None else str(function(_text(value)))
    if made.startswith("[0.") or made.startswith("[-0."):
        numbers = json.loads(made)
        return struct.pack(f">iHH{len(numbers)}f", 4 + 4 * len(numbers), len(numbers), 0, *numbers)
    data = made.encode("utf-8", "surrogateescape")
    return struct.pack(">i", len(data)) + data


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "{" + ",".join(map(str, value)) + "}"
    return str(value)


def mongo(mask: PolicyMask, world: World) -> Iterator[tuple[str, bytes]]:
    from bson import encode

    for name, documents in (
        ("chunks", fill_mongo.chunks(world)),
        ("cache", fill_mongo.cache(world)),
    ):
        yield (
            f"mongo: {name}",
            b"".join(map(encode, mask.documents(name, list(documents)))),
        )


def qdrant(mask: PolicyMask, world: World) -> Iterator[tuple[str, bytes]]:
    ids, payloads, vectors = fill_qdrant.points(world, 1, world.video_count)
    points = [
        Point(id=number, vector=vector[:8].tolist(), payload=payload)
        for number, payload, vector in zip(ids, payloads, vectors, strict=True)
    ]
    lines = [json.dumps(one.payload, ensure_ascii=False) for one in mask.points("", points)]
    assert len(lines) == len(points)
    yield "qdrant: points", "\n".join(lines).encode()


def entries(world: World) -> Iterator[Entry]:
    """The demo's commands as the keys that they make."""
    held: dict[str, tuple[str, Any]] = {}
    for command, key, *rest in fill_redis.commands(world):
        if command not in COMMANDS:
            continue
        words = [one if isinstance(one, bytes) else str(one).encode() for one in rest]
        kind, value = held.setdefault(key, (COMMANDS[command], []))
        if kind == "hash":
            value += zip(words[::2], words[1::2], strict=True)
        elif kind == "zset":
            value += [
                (member, float(score))
                for score, member in zip(words[::2], words[1::2], strict=True)
            ]
        elif kind == "stream":
            value.append((words[0], list(zip(words[1::2], words[2::2], strict=True))))
        elif kind == "string":
            held[key] = (kind, words[0])
        else:
            value += words
    for key, (kind, value) in held.items():
        yield Entry(key=key.encode(), type=kind, value=value)


def redis(mask: PolicyMask, world: World) -> Iterator[tuple[str, bytes]]:
    out: dict[str, list[bytes]] = defaultdict(list)
    for one in entries(world):
        entry = mask.entries([one])[0]
        if entry is not None:
            out["redis: keys"].append(b"%s\0\0\0%s" % (entry.key, _flat(entry.value)))
    for name, parts in out.items():
        yield name, b"\0\0".join(parts)


def _flat(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, (list, tuple)):
        return b"\0\0\0\1".join(map(_flat, value))
    return str(value).encode()


def files(mask: PolicyMask, world: World) -> Iterator[tuple[str, bytes]]:
    for directory, made in (
        ("output", fill_files.output(world)),
        ("backup", fill_files.backup(world)),
    ):
        parts: list[bytes] = []
        for path, content, target in made:
            one = FileEntry(
                path=path, type="symlink" if content is None else "file", mode=0o644, mtime=0,
                size=0, target=target,
            )  # fmt: skip
            moved = mask.file(directory, one)
            if moved is None:
                continue
            parts.append(f"{moved.path}\n{moved.target}\n".encode("utf-8", "surrogateescape"))
            if content is not None:
                parts += mask.content(directory, one, io.BytesIO(content))
        yield f"files: {directory}", b"\n".join(parts)
