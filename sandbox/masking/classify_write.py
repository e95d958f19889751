"""A proposal as the text of a masking.toml: grouped by store, each rule with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.masking.classify import Advice
from sandbox.masking.classify_propose import Advices, Named, Proposal
from sandbox.masking.classify_seen import Path
from sandbox.masking.rules import ITEMS

WIDTH = 100
BARE = re.compile(r"[A-Za-z0-9_-]+")
HEAD = """\
# Suggested by `./inv classify` from names, types and samples of production: go through it.
# A rule says why it is there; "keep" stands for what looked harmless. docs/classify.md

version = 1
unknown = "stop"
"""
TITLES = {"postgres": "PostgreSQL", "mongo": "MongoDB", "qdrant": "Qdrant", "redis": "Redis",
          "files": "Files"}  # fmt: skip


def quoted(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(text: str) -> str:
    return text if BARE.fullmatch(text) else quoted(text)


def path_text(path: Path) -> str:
    """As the policy's `split` reads it."""
    text = ""
    for part in path:
        if part == ITEMS:
            text += part
        else:
            text += ("." if text else "") + part.replace(".", "\\.")
    return text


def value(advice: Advice) -> str:
    if not advice.options:
        return quoted(advice.strategy)
    options = "".join(f", {name} = {_plain(one)}" for name, one in advice.options.items())
    return f"{{ strategy = {quoted(advice.strategy)}{options} }}"


def _plain(one: Any) -> str:
    if isinstance(one, list):
        return f"[{', '.join(map(_plain, one))}]"
    return quoted(one) if isinstance(one, str) else json.dumps(one)


def toml(proposal: Proposal) -> str:
    """Raises nothing: what the format cannot name is left to a comment."""
    parts = [HEAD]
    for store, held in (("postgres", proposal.tables), ("mongo", proposal.collections)):
        if held:
            parts.append(_title(store))
        parts += [_table((store, name), advices) for name, advices in held.items()]
    if proposal.payload is not None:
        parts += [_title("qdrant"), _qdrant(proposal)]
    if proposal.keys:
        parts.append(_title("redis"))
        parts += [_redis(one) for one in proposal.keys]
    if proposal.files:
        parts.append(_title("files"))
        parts += [_directory(name, found) for name, found in proposal.files.items()]
    return "\n".join(parts)


def _title(store: str) -> str:
    return f"# {'=' * (WIDTH - 2)}\n# {TITLES[store]}\n# {'=' * (WIDTH - 2)}\n"


def _header(place: tuple[str, ...]) -> str:
    return f"[{'.'.join(map(key, place))}]"


def _table(place: tuple[str, ...], advices: Advices) -> str:
    return "\n".join([_header(place), *_rules(advices), ""])


def _rules(advices: Mapping[Path, Advice]) -> Iterator[str]:
    kept = [path_text(path) for path, advice in advices.items() if not advice.personal]
    clash = any(path_text(path) == "keep" for path in advices)
    if kept and not clash:
        yield from _bulk(kept)
    for path, advice in advices.items():
        if advice.personal or clash:
            rule = f"{key(path_text(path))} = {value(advice)}"
            yield f"{rule}  # {advice.reason}" if advice.reason else rule


def _bulk(names: list[str]) -> Iterator[str]:
    """`keep = [...]`, wrapped."""
    whole = f"keep = [{', '.join(map(quoted, names))}]"
    if len(whole) <= WIDTH:
        yield whole
        return
    yield "keep = ["
    line = "   "
    for name in map(quoted, names):
        if len(line) + len(name) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {name},"
    yield line
    yield "]"


def _qdrant(proposal: Proposal) -> str:
    lines = ["[qdrant]", 'id = "keep"']
    plain = proposal.vectors.get("")
    if plain is not None:
        lines.append(f"vector = {value(plain)}  # {plain.reason}")
    named = {name: advice for name, advice in proposal.vectors.items() if name}
    if named:
        lines += ["", "[qdrant.vectors]"]
        lines += [f"{key(name)} = {value(one)}  # {one.reason}" for name, one in named.items()]
    return "\n".join([*lines, "", _table(("qdrant", "payload"), proposal.payload or {})])


def _redis(one: Named) -> str:
    place = ("redis", one.template)
    note = f"  # {one.reason}" if one.reason else ""
    lines = [_header(place), f"type = {quoted(one.kind)}{note}"]
    only = one.inside.get(())
    if only is not None and one.kind not in ("hash", "stream"):
        lines.append(f"value = {value(only)}  # {only.reason}")
        return "\n".join([*lines, ""])
    if one.names is not None:
        lines.append(f"names = {value(one.names)}  # {one.names.reason}")
    inner = "fields" if one.kind in ("hash", "stream") else "json"
    return "\n".join([*lines, "", _table((*place, inner), one.inside)])


def _directory(directory: str, found: list[Named]) -> str:
    lines = [_header(("files", directory))]
    tables = []
    for one in found:
        inner = {"json": "json", "jsonl": "json", "csv": "columns"}.get(one.kind)
        if inner is None:
            lines.append(f"{quoted(one.template)} = {quoted(one.kind)}  # {one.reason}")
            continue
        place = ("files", directory, one.template)
        if one.kind == "jsonl":
            tables.append(f'{_header(place)}\ncontent = "jsonl"\n')
        tables.append(_table((*place, inner), one.inside))
    return "\n".join([*lines, "", *tables])
