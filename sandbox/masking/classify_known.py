"""Values that are surely people's names and the like, to be found again where no name says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.masking.classify_names import about_people, by_name
from sandbox.masking.classify_seen import Leaf, Path, Seen
from sandbox.masking.classify_values import shares
from sandbox.masking.rules import ANY, DEEP, ITEMS

FEW = 6  # distinct values: more than this is no list of states
PEOPLE = 400  # known names that are looked for inside other values


@dataclass(frozen=True, kw_only=True)
class Known:
    """Values of places that are surely people's names and the like: found again elsewhere."""

    exact: Mapping[str, str] = field(default_factory=dict, repr=False)  # value -> kind
    inside: tuple[str, ...] = field(default=(), repr=False)

    @staticmethod
    def of(seen: Seen) -> Known:
        exact: dict[str, str] = {}
        for path, leaf in seen.leaves():
            kind = by_name(last(path))
            if kind in ("person", "name") and leaf.texts:
                found = shares(leaf.texts)
                people = kind == "person" or about_people(path)
                if people and found.get("person", 0) >= 0.6:
                    exact |= {_plain(text): "person" for text in leaf.texts}
            elif kind in ("username", "city") and not few(leaf):
                exact |= {_plain(text): kind for text in leaf.texts if len(text) > 2}
        within = [text for text, kind in exact.items() if kind != "city" and _is_long(text)]
        return Known(exact=exact, inside=tuple(within[:PEOPLE]))

    def knows(self, text: str) -> bool:
        return _plain(text) in self.exact

    def same(self, values: Sequence[str]) -> tuple[str, float]:
        """The kind that most of the values are known as, and which part of them is."""
        kinds = [self.exact[text] for text in map(_plain, values) if text in self.exact]
        if not kinds:
            return "", 0.0
        best = max(set(kinds), key=kinds.count)
        return best, kinds.count(best) / len(values)

    def within(self, values: Sequence[str]) -> float:
        texts = [_plain(text) for text in values[:100]]
        hits = sum(any(name in text for name in self.inside) for text in texts)
        return hits / len(texts) if texts else 0.0


def _plain(text: str) -> str:
    return text.strip().lower()


def _is_long(text: str) -> bool:
    return len(text) >= (6 if text.isascii() else 2)


def last(path: Path) -> str:
    """The name that says most: the last that is one."""
    return next((part for part in reversed(path) if part not in (ITEMS, ANY, DEEP)), "")


def few(leaf: Leaf) -> bool:
    """The same few values again and again: states, languages, kinds."""
    return len(leaf.values) <= FEW and leaf.total >= 4 * len(leaf.values) and leaf.total >= 12
