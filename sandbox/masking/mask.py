"""The policy, ready to apply: SQL expressions for PostgreSQL, functions for everything else."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

from sandbox.masking.keyed import Function, Pseudonyms
from sandbox.masking.known import Known
from sandbox.masking.leaks import Originals
from sandbox.masking.policy import Policy
from sandbox.model import Dataset, Entry, FileEntry, Point

CHUNK = 1 << 20  # bytes
PLACEHOLDER = b"masked placeholder\n"
# HMAC-SHA256 with PostgreSQL's own sha256(): the padded keys are settings, never query text.
HMAC = (
    "encode(sha256(decode(current_setting('sandbox.okey'),'hex') || sha256(decode(current_setting("
    "'sandbox.ikey'),'hex') || convert_to('{domain}','UTF8') || '\\x00'::bytea || "
    "convert_to({value},'UTF8'))),'hex')"
)
NAMED = ("person", "username")  # what free text is searched for


class PolicyMask:
    """Shared by threads; `uncovered` and `counts` only grow."""

    def __init__(self, policy: Policy, *, key: str) -> None:
        self._policy = policy
        self._key = key.encode()
        self.pseudonyms = Pseudonyms(self._key)
        self.known = Known(self.pseudonyms)
        self.originals = Originals()
        self._seen: dict[str, str] = {}
        self.uncovered: Mapping[str, str] = self._seen
        self.counts: Counter[str] = Counter()
        self.policy_hash = policy.hash
        self.key_id = self.pseudonyms.hex("key id", "", 12)

    # --- PostgreSQL ------------------------------------------------------------------------------

    @property
    def settings(self) -> Mapping[str, str]:
        """The padded keys of HMAC (RFC 2104), for `set_config`."""
        block = self._key.ljust(64, b"\0")
        return {
            "sandbox.okey": bytes(b ^ 0x5C for b in block).hex(),
            "sandbox.ikey": bytes(b ^ 0x36 for b in block).hex(),
        }

    def columns(self, table: Dataset) -> Mapping[str, str]:
        found = {}
        for field in table.fields:
            if field.generated:
                continue
            strategy = self._rule("postgres", table.name, field.name, field.type)
            expression = _expression(strategy, field.name)
            if expression is not None:
                found[field.name] = expression
        return found

    def texts(self, table: Dataset) -> Mapping[str, Callable[[str], str | None]]:
        found: dict[str, Callable[[str], str | None]] = {}
        for field in table.fields:
            strategy = self._policy.rule("postgres", table.name, field.name) or "null"
            if field.generated or strategy == "keep" or _expression(strategy, field.name):
                continue
            function = self._column(strategy, f"{table.name}.{field.name}")
            found[field.name] = _limited(function, field.length)
        return found

    def where(self, table: Dataset) -> str:
        return ""

    def searched(self, table: Dataset) -> Sequence[str]:
        """Columns masked by SQL, whose originals did not come through here."""
        strategies = {
            f.name: self._policy.rule("postgres", table.name, f.name) for f in table.fields
        }
        return [n for n, s in strategies.items() if s == "token"]

    def named(self, table: Dataset) -> Mapping[str, str]:
        """Columns that hold names and usernames, for `known`."""
        return {
            field.name: strategy
            for field in table.fields
            if (strategy := self._policy.rule("postgres", table.name, field.name)) in NAMED
            and not field.generated
        }

    def note(self, dataset: Dataset, name: str, values: Iterable[str]) -> None:
        strategy = self._policy.rule("postgres", dataset.name, name) or ""
        for value in values:
            self.originals.add(strategy, value, str(self._value(strategy, value)))

    # --- the other stores ------------------------------------------------------------------------

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        return self._tree("mongo", collection, document)

    def point(self, collection: str, point: Point) -> Point | None:
        payload = self._tree("qdrant", "payload", point.payload)
        strategy = self._rule("qdrant", "vector", "*", "vector")
        vector = point.vector if strategy == "keep" else _random_vector(self, point)
        return Point(id=point.id, vector=vector, payload=payload)

    def entry(self, entry: Entry) -> Entry | None:
        key = entry.key.decode("utf-8", "surrogateescape")
        for pattern, found in self._policy.tables.get("redis", {}).items():
            rules = found
            match = _pattern(pattern).fullmatch(key)
            if match is not None:
                break
        else:
            shape = re.sub(r"[0-9]+", "<number>", key.split(":")[0])
            self._uncover(f"redis {shape}:*", "a key")
            return None
        name = self._key_name(pattern, match, key)
        value = self._entry_value(pattern, rules, entry)
        return replace(entry, key=name.encode("utf-8", "surrogateescape"), value=value)

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        if file.type == "directory":
            path = self._directory_name(directory, file.path)
            return replace(file, path=path)
        for pattern, found in self._policy.tables.get("files", {}).items():
            rules = found
            purpose, _, rest = pattern.partition(":")
            match = _pattern(rest).fullmatch(file.path) if purpose == directory else None
            if match is not None:
                break
        else:
            self._uncover(f"files {directory}: {posixpath.basename(file.path)}", "a file")
            return None
        if rules.get("content") == "drop":
            return None
        target = file.target
        if file.type == "symlink" and rules.get("target") == "filename":
            target = self._file_name(file.target)
        return replace(file, path=self._key_name(rest, match, file.path), target=target)

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        rules = self._file_rules(directory, file)
        strategy = rules.get("content", "placeholder")
        if strategy == "copy":
            while piece := stream.read(CHUNK):
                yield piece
        elif strategy == "json":
            value = json.loads(stream.read())
            masked = self._walk("files", f"{directory}:json", value, "", rules)
            yield json.dumps(masked, ensure_ascii=False, indent=1).encode()
        elif strategy == "csv":
            yield from self._csv(rules, stream)
        elif strategy == "lines":
            for line in stream.read().splitlines(keepends=True):
                yield str(self._value("text", line.decode("utf-8", "replace"))).encode()
        else:
            yield PLACEHOLDER

    def keeps(self, dataset: Dataset) -> bool:
        rules = self._policy.rules(dataset.store, dataset.name)
        return bool(rules) and set(rules.values()) == {"keep"}

    # --- values ----------------------------------------------------------------------------------

    def _rule(self, store: str, dataset: str, name: str, seen: str) -> str:
        strategy = self._policy.rule(store, dataset, name)
        if strategy is None:
            self._uncover(f"{store} {dataset}.{name}", seen)
            return "null"
        return strategy

    def _uncover(self, name: str, seen: str) -> None:
        self._seen.setdefault(name, f'({seen}; for example "keep" or "redact")')

    def _value(self, strategy: str, value: str) -> str | None:
        """One text value by one strategy."""
        self.counts[strategy] += 1
        simple: dict[str, Callable[[str], str | None]] = {
            "token": self.pseudonyms.token,
            "email": self.pseudonyms.email,
            "username": self.pseudonyms.username,
            "person": self.pseudonyms.person,
            "phone": self.pseudonyms.phone,
            "ip": self.pseudonyms.ip,
            "city": self.pseudonyms.city,
            "street": self.pseudonyms.street,
            "birthday": self.pseudonyms.birthday,
            "text": self.known.masked,
            "url": self.known.masked,
            "path": self._path,
            "filename": self._file_name,
            "geo": _rounded,
        }
        if strategy == "keep":
            return value
        if strategy == "redact":
            return "[redacted]"
        function = simple.get(strategy)
        return function(value) if function else None

    def _masked(self, strategy: str, value: Any) -> Any:
        """A value of any JSON or BSON type."""
        if strategy == "keep" or value is None:
            return value
        if strategy == "null":
            return None
        if strategy == "geo" and isinstance(value, float):
            return round(value, 1)
        if not isinstance(value, str):
            return None
        masked = self._value(strategy, value)
        if strategy in ("person", "email", "username", "phone", "ip", "token"):
            self.originals.add(strategy, value, masked or "")
        return masked

    def _column(self, strategy: str, where: str) -> Callable[[str], str | None]:
        if strategy == "json":
            table, _, column = where.partition(".")
            return lambda text: json.dumps(
                self._walk("postgres", table, json.loads(text), column, None), ensure_ascii=False
            )
        if strategy == "persons":
            return lambda text: _array(text, self.pseudonyms.person)
        if strategy == "vector":
            return lambda text: _vector_text(self, text)

        def masked(text: str) -> str | None:
            result = self._masked(strategy, text)
            return None if result is None else str(result)

        return masked

    def _tree(self, store: str, dataset: str, value: dict[str, Any]) -> dict[str, Any]:
        found = self._walk(store, dataset, value, "", None)
        assert isinstance(found, dict)
        return found

    def _walk(
        self, store: str, dataset: str, value: Any, path: str, rules: Mapping[str, str] | None
    ) -> Any:
        """Every leaf by the rule of its path: `owner.name`, `speakers[].email`."""
        if isinstance(value, dict):
            return {
                key: self._walk(store, dataset, item, f"{path}.{key}" if path else key, rules)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._walk(store, dataset, item, f"{path}[]", rules) for item in value]
        if rules is not None:
            strategy = rules.get(path) or rules.get("*")
            if strategy is None:
                self._uncover(f"{store} {dataset}.{path}", type(value).__name__)
                return None
        else:
            strategy = self._rule(store, dataset, path, type(value).__name__)
        return self._masked(strategy, value)

    def _entry_value(self, pattern: str, rules: Mapping[str, str], entry: Entry) -> Any:
        def one(name: str, raw: bytes) -> bytes:
            strategy = rules.get(name) or rules.get("*")
            if strategy is None:
                self._uncover(f"redis {pattern} {name}", entry.type)
                return b""
            if strategy == "keep":
                return raw
            text = raw.decode("utf-8", "replace")
            if strategy == "json":
                walked = self._walk("redis", pattern, json.loads(text), "", rules)
                return json.dumps(walked, ensure_ascii=False).encode()
            masked = self._masked(strategy, text)
            return b"" if masked is None else str(masked).encode()

        if entry.type == "string":
            return one("value", entry.value)
        if entry.type in ("list", "set"):
            return [one("member", member) for member in entry.value]
        if entry.type == "zset":
            return [(one("member", member), score) for member, score in entry.value]
        if entry.type == "hash":
            return [(field, one(field.decode(), value)) for field, value in entry.value]
        return [
            (identifier, [(field, one(field.decode(), value)) for field, value in fields])
            for identifier, fields in entry.value
        ]

    # --- names -----------------------------------------------------------------------------------

    def _key_name(self, pattern: str, match: re.Match[str], key: str) -> str:
        """The key with its named parts masked: `session:<email>`."""
        out, at = [], 0
        for group, value in match.groupdict().items():
            start, end = match.span(group)
            out += [key[at:start], str(self._masked(group.rstrip("0123456789"), value))]
            at = end
        return "".join([*out, key[at:]])

    def _path(self, value: str) -> str:
        """output/<username>/...: known names in every part."""
        return "/".join(
            self.pseudonyms.username(part)
            if self.known.is_username(part)
            else self._file_name(part)
            for part in value.split("/")
        )

    def _file_name(self, value: str) -> str:
        return self.known.masked_name(value)

    def _directory_name(self, directory: str, path: str) -> str:
        return "/".join(
            self.pseudonyms.username(part) if self.known.is_username(part) else part
            for part in path.split("/")
        )

    def _file_rules(self, directory: str, file: FileEntry) -> Mapping[str, str]:
        for pattern, rules in self._policy.tables.get("files", {}).items():
            purpose, _, rest = pattern.partition(":")
            if purpose == directory and _pattern(rest).fullmatch(file.path):
                return rules
        return {}

    def _csv(self, rules: Mapping[str, str], stream: IO[bytes]) -> Iterator[bytes]:
        reader = csv.reader(io.StringIO(stream.read().decode("utf-8"), newline=""))
        header = next(reader, [])
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        for row in reader:
            masked = []
            for name, value in zip(header, row, strict=False):
                strategy = rules.get(name) or rules.get("*")
                if strategy is None:
                    self._uncover(f"files csv {name}", "a column")
                    strategy = "null"
                masked.append(self._masked(strategy, value) or "")
            writer.writerow(masked)
        yield out.getvalue().encode()


def _expression(strategy: str, column: str) -> str | None:
    """What PostgreSQL itself can say, byte for byte as `Pseudonyms` does."""
    quoted = '"' + column.replace('"', '""') + '"'
    if strategy == "null":
        return "NULL"
    if strategy == "redact":
        return f"CASE WHEN {quoted} IS NULL THEN NULL ELSE '[redacted]' END"
    if strategy == "token":
        digest = HMAC.format(domain="token", value=f"{quoted}::text")
        return f"'tok_' || left({digest}, 32)"
    if strategy == "geo":
        return f"round({quoted}::numeric, 1)"
    return None


def _limited(function: Callable[[str], str | None], length: int | None) -> Function:
    if length is None:
        return function

    def cut(text: str) -> str | None:
        masked = function(text)
        return None if masked is None else masked[:length]

    return cut


def _rounded(value: str) -> str:
    return str(round(float(value), 1))


def _array(text: str, function: Callable[[str], str]) -> str:
    """PostgreSQL's text of a text[]: {"Ann Lee",NULL}."""
    items = re.findall(r'"((?:[^"\\]|\\.)*)"|([^{},"]+)', text)
    out = []
    for quoted_item, bare in items:
        if bare == "NULL":
            out.append("NULL")
        else:
            value = re.sub(r"\\(.)", r"\1", quoted_item) if quoted_item else bare
            out.append('"' + function(value).replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(out) + "}"


def _numbers(mask: PolicyMask, seed: str, count: int) -> list[float]:
    """A unit vector that only the key and the seed decide."""
    raw: list[float] = []
    block = 0
    while len(raw) < count:
        digest = mask.pseudonyms.digest("vector", f"{seed}/{block}")
        raw += [(byte - 127.5) / 127.5 for byte in digest]
        block += 1
    norm = sum(x * x for x in raw[:count]) ** 0.5
    return [x / norm for x in raw[:count]]


def _vector_text(mask: PolicyMask, text: str) -> str:
    count = text.count(",") + 1
    return "[" + ",".join(f"{x:.6f}" for x in _numbers(mask, text[:64], count)) + "]"


def _random_vector(mask: PolicyMask, point: Point) -> Any:
    if isinstance(point.vector, list):
        return _numbers(mask, str(point.id), len(point.vector))
    return {}


_PATTERNS: dict[str, re.Pattern[str]] = {}


def _pattern(text: str) -> re.Pattern[str]:
    """`session:<email>` -> an expression; `<*>` is any part, kept as it is."""
    if text not in _PATTERNS:
        seen: Counter[str] = Counter()

        def part(match: re.Match[str]) -> str:
            if match[1] == "*":
                return "[^/]*?"
            seen[match[1]] += 1
            number = "" if seen[match[1]] == 1 else str(seen[match[1]])
            inside = "[^/]" if match[1] == "ip" else "[^/:]"  # an IPv6 address has colons
            return f"(?P<{match[1]}{number}>{inside}+?)"

        pieces = re.split(r"(<[a-z*]+>)", text)
        _PATTERNS[text] = re.compile(
            "".join(
                re.sub(r"<([a-z*]+)>", part, piece) if piece.startswith("<") else re.escape(piece)
                for piece in pieces
            )
        )
    return _PATTERNS[text]
