"""What was seen -> a rule for every place, with the reason for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sandbox.masking import sql
from sandbox.masking.classify import Advice, advise, keep, part_of_name, vector
from sandbox.masking.classify_forms import text_of, words_before
from sandbox.masking.classify_known import Known
from sandbox.masking.classify_seen import FileGroup, KeyGroup, Leaf, Leaves, Path, Seen
from sandbox.masking.rules import ANY, DEEP, ITEMS, joined

Advices = dict[Path, Advice]
FILE = {"placeholder": "a tiny file of the same kind in its place", "skip": "not copied at all",
        "link": "follows its target"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Named:
    """Rules for keys or files of one form. `inside`: by path. `names`: for a hash's field names."""

    template: str
    kind: str  # a key's type, or what becomes of a file
    inside: Advices = field(default_factory=dict)
    names: Advice | None = None
    reason: str = ""


@dataclass(kw_only=True)
class Proposal:
    tables: dict[str, Advices] = field(default_factory=dict)
    collections: dict[str, Advices] = field(default_factory=dict)
    payload: Advices | None = None
    vectors: dict[str, Advice] = field(default_factory=dict)
    keys: list[Named] = field(default_factory=list)
    files: dict[str, list[Named]] = field(default_factory=dict)

    def places(self) -> Iterator[tuple[str, Advice]]:
        """Every place as errors name it: `postgres.videos.owner_name`."""
        for store, held in (("postgres", self.tables), ("mongo", self.collections)):
            for name, advices in held.items():
                yield from ((f"{store}.{name}.{joined(p)}", a) for p, a in advices.items())
        yield from ((f"qdrant.payload.{joined(p)}", a) for p, a in (self.payload or {}).items())
        for name, advice in self.vectors.items():
            yield f"qdrant.vectors.{name}" if name else "qdrant.vector", advice
        for one in self.keys:
            yield from ((_inside(f"redis.{one.template}", p), a) for p, a in one.inside.items())
        for directory, found in self.files.items():
            for one in found:
                place = f"files.{directory}.{one.template}"
                personal = "keep" if one.kind == "copy" else one.kind
                yield place, Advice(strategy=personal, reason=one.reason)
                yield from ((_inside(place, p), a) for p, a in one.inside.items())


def _inside(place: str, path: Path) -> str:
    return f"{place}: {joined(path)}" if path else place


def propose(seen: Seen) -> Proposal:
    known = Known.of(seen)
    made = Proposal()
    for table, leaves in seen.tables.items():
        made.tables[table] = _advices((table,), _settled(leaves), known)
    for name, leaves in seen.collections.items():
        made.collections[name] = _advices((name,), leaves, known)
    if seen.payload is not None:
        made.payload = _advices(("payload",), seen.payload, known)
    made.vectors = {name: vector((name or "text",)) for name in seen.vectors}
    made.keys = _one_type_each([_key(key, known) for key in seen.keys])
    for directory, groups in seen.files.items():
        found = {one.template: one for one in (_file(group, known) for group in groups)}
        made.files[directory] = list(found.values())
    return made


def _one_type_each(keys: list[Named]) -> list[Named]:
    """The policy has one type for a template; others stop a snapshot, and a note says so."""
    found: dict[str, Named] = {}
    for one in keys:
        first = found.setdefault(one.template, one)
        if first.kind != one.kind:
            reason = f"also seen as a {one.kind}: make the template more exact"
            found[one.template] = replace(first, reason=reason)
    return list(found.values())


def _advices(start: Path, leaves: Leaves, known: Known) -> Advices:
    found: Advices = {}
    for path, leaf in leaves.items():
        advice = advise((*start, *path), leaf, known)
        whole = path[-1:] == (ITEMS,) and advice.strategy == "vector"
        found[path[:-1] if whole else path] = advice
    return found


def _settled(leaves: Leaves) -> Leaves:
    """A text column that holds JSON now and then is text; a JSON column without a value is looked
    at by no one."""
    found: Leaves = {}
    plain = {
        path[0]
        for path, leaf in leaves.items()
        if len(path) == 1
        and leaf.column is not None
        and leaf.total
        and not sql.is_json(leaf.column)
    }
    inner = {path[0] for path in leaves if len(path) > 1}
    for path, leaf in leaves.items():
        if len(path) > 1 and path[0] in plain and path[1:] != (ITEMS,):
            continue
        if len(path) == 1 and path[0] in inner and path[0] not in plain:
            continue
        if len(path) == 1 and leaf.column is not None and sql.is_json(leaf.column):
            path = (*path, DEEP)
        elif len(path) == 1 and leaf.column is not None and sql.is_array(leaf.column):
            path = (*path, ITEMS)
        found[path] = leaf
    return found


def about_of(group: KeyGroup | FileGroup) -> Path:
    """The fixed words of a name: they say what is inside."""
    return tuple(part.strip(":/._-") for part in group.template if part is not None)


def key_parts(group: KeyGroup | FileGroup, known: Known) -> list[Advice]:
    """For each part of the name that varies."""
    words = words_before(group.template)
    return [part_of_name(w, leaf, known) for w, leaf in zip(words, group.parts, strict=True)]


def _key(key: KeyGroup, known: Known) -> Named:
    parts = key_parts(key, known)
    about = about_of(key)
    leaves = key.leaves or {(): Leaf()}
    if () in leaves and len(leaves) > 1:
        leaves = {(): leaves[()]}
    inside = _advices(about, leaves, known)
    if not key.leaves:
        inside = {(): keep("empty")} if key.type not in ("hash", "stream") else {(ANY,): keep("")}
    names = None
    if any(path[0] == ANY for path in inside if path) and key.type == "hash":
        advice = part_of_name(list(about), key.names, known)
        names = advice if advice.personal else None
    template = text_of(key.template, [part.strategy for part in parts])
    return Named(template=template, kind=key.type, inside=inside, names=names)


def _file(group: FileGroup, known: Known) -> Named:
    parts = key_parts(group, known)
    template = text_of(group.template, [part.strategy for part in parts])
    about = about_of(group)
    inside = _advices(about, group.leaves, known)
    if group.content == "text":
        advice = inside.pop((), keep("an empty file"))
        kind = "text" if advice.sure else "copy"
        reason = advice.reason if advice.sure else "nothing personal was seen in it"
        return Named(template=template, kind=kind, reason=reason)
    if group.content in ("json", "jsonl", "csv") and not inside:
        return Named(template=template, kind="placeholder", reason="nothing inside was seen")
    return Named(
        template=template, kind=group.content, inside=inside, reason=FILE.get(group.content, "")
    )
