"""Which forms names have: `user:ann`, `user:ben` -> `user:` and a part that varies."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}|v\d")
HEAD = re.compile(r"([A-Za-z]{2,24})([_-])(?=.)")
PACKED = (".gz", ".zst", ".bz2", ".xz")
FEW, MANY = 3, 12  # rare words that may stand at one place, and at the first
OFTEN = 5  # a word that comes less often is rare

Part = tuple[str, str]  # what is before it, and itself
Row = tuple[str, tuple[Part, ...], str]  # the whole name, its parts, a fixed end


@dataclass(kw_only=True)
class Form:
    """Names of one form: fixed texts, None where they vary. `rows`: each name, and the parts that
    stand there."""

    template: tuple[str | None, ...]
    rows: list[tuple[str, tuple[str, ...]]] = field(default_factory=list, repr=False)


def of_keys(names: Iterable[str], is_person: Callable[[str], bool]) -> list[Form]:
    return _forms([_key(name) for name in names], is_person)


def of_paths(names: Iterable[str], is_person: Callable[[str], bool]) -> list[Form]:
    return _forms([_path(name) for name in names], is_person)


def _key(name: str) -> Row:
    """Parts between colons; an IPv6 address at the end is one."""
    parts = name.split(":")
    for at in range(len(parts) - 1):
        tail = ":".join(parts[at:])
        if tail.count(":") >= 2 and _is_ip(tail):
            parts = [*parts[:at], tail]
            break
    return name, tuple((":" if at else "", part) for at, part in enumerate(parts)), ""


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _path(name: str) -> Row:
    """Folders; of the file's name the first word, the rest and its ending."""
    *folders, file = name.split("/")
    stem, end = file, ""
    for _ in range(2):
        head, dot, tail = stem.rpartition(".")
        if not dot or not head or not tail.isalnum() or len(tail) > 8:
            break
        stem, end = head, f".{tail}{end}"
        if f".{tail}" not in PACKED:
            break
    parts = [("/" if at else "", folder) for at, folder in enumerate(folders)]
    before = "/" if folders else ""
    first = HEAD.match(stem)
    if first:
        parts += [(before, first[1]), (first[2], stem[first.end() :])]
    else:
        parts.append((before, stem))
    return name, tuple(parts), end


def _forms(rows: Sequence[Row], is_person: Callable[[str], bool]) -> list[Form]:
    groups: dict[tuple[tuple[str, ...], str], list[Row]] = {}
    for row in rows:
        groups.setdefault((tuple(before for before, _ in row[1]), row[2]), []).append(row)
    found: dict[tuple[str | None, ...], Form] = {}
    for (_, end), group in groups.items():
        for template, names in _split(group, 0, (), is_person):
            made = _joined((*template, end))
            form = found.setdefault(made, Form(template=made))
            form.rows += [(name, values) for name, values in names]
    return list(found.values())


Names = list[tuple[str, tuple[str, ...]]]


def _split(
    rows: Sequence[Row], at: int, template: tuple[str | None, ...], is_person: Callable[[str], bool]
) -> Iterator[tuple[tuple[str | None, ...], Names]]:
    """Position by position: words stay, what varies is one group."""
    if at == len(rows[0][1]):
        varying = [n for n, part in enumerate(template[1::2]) if part is None]
        yield template, [(name, tuple(parts[n][1] for n in varying)) for name, parts, _ in rows]
        return
    counts = Counter(row[1][at][1] for row in rows)
    words = {word for word in counts if WORD.fullmatch(word) and not is_person(word)}
    rare = {word for word in words if counts[word] < OFTEN}
    if len(rare) > (MANY if at == 0 else FEW):
        words -= rare
    if len(words) > 2 * MANY:
        words = set()
    before = rows[0][1][at][0]
    for word in sorted(words):
        same = [row for row in rows if row[1][at][1] == word]
        yield from _split(same, at + 1, (*template, before, word), is_person)
    rest = [row for row in rows if row[1][at][1] not in words]
    if rest:
        yield from _split(rest, at + 1, (*template, before, None), is_person)


def _joined(template: Sequence[str | None]) -> tuple[str | None, ...]:
    made: list[str | None] = []
    for part in template:
        if part is None:
            made.append(None)
        elif part:
            if made and made[-1] is not None:
                made[-1] += part
            else:
                made.append(part)
    return tuple(made)


def text_of(template: Sequence[str | None], strategies: Sequence[str]) -> str:
    """As the policy writes it: `user:{username}:*`."""
    left = iter(strategies)
    return "".join(
        re.sub(r"([{}*\\])", r"\\\1", part)
        if part is not None
        else "*" if (strategy := next(left)) == "keep" else f"{{{strategy}}}"
        for part in template
    )  # fmt: skip


def words_before(template: Sequence[str | None]) -> list[list[str]]:
    """For each part that varies: the fixed words before it."""
    found: list[list[str]] = []
    words: list[str] = []
    for part in template:
        if part is None:
            found.append(list(words))
        else:
            words += re.findall(r"[^\W_]+", part)
    return found
