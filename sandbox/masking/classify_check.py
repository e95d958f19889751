"""What has drifted since the policy was written: places without a rule are the mask's to tell; here
are places that look personal and are kept, and rules whose places are gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sandbox.masking.classify import Advice, advise, vector
from sandbox.masking.classify_known import Known
from sandbox.masking.classify_propose import about_of, key_parts
from sandbox.masking.classify_seen import FileGroup, KeyGroup, Leaves, Path, Seen
from sandbox.masking.patterns import KEPT, Template, template
from sandbox.masking.policy import FileRule, Policy, RedisRule
from sandbox.masking.rules import ANY, DEEP, ITEMS, Rule, Tree, joined

ACCEPT = 'or say why: { strategy = "keep", because = "..." }'


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`kind`: new, kept or gone."""

    kind: str
    place: str
    detail: str


def find(policy: Policy, seen: Seen) -> list[Finding]:
    return [*_Check(policy, seen).findings()]


def rule_at(tree: Tree | None, path: Path) -> Rule | None:
    """The rule that decides over a scalar: its own, `*` of its level, or `**` above it."""
    deep: Rule | None = None
    for at, part in enumerate(path):
        if tree is None:
            return deep
        below = tree.children.get(DEEP)
        deep = below.rule if below is not None else deep
        named = tree.children.get(part)
        if named is None and part == ITEMS and tree.rule is not None:
            return tree.rule  # a column's rule is for all that is in its array
        if named is None and at == len(path) - 1:
            named = tree.children.get(ANY)
        tree = named
    if tree is None:
        return deep
    below = tree.children.get(DEEP)
    return tree.rule or (below.rule if below is not None else deep)


def nodes(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Rule]]:
    if tree.rule is not None:
        yield path, tree.rule
    for part, child in tree.children.items():
        yield from nodes(child, (*path, part))


class _Check:
    def __init__(self, policy: Policy, seen: Seen) -> None:
        self._policy, self._seen, self._known = policy, seen, Known.of(seen)

    def findings(self) -> Iterator[Finding]:
        policy, seen = self._policy, self._seen
        for store, held, trees in (
            ("postgres", seen.tables, policy.postgres),
            ("mongo", seen.collections, policy.mongo),
        ):
            for name, leaves in held.items():
                place = f"{store}.{name}"
                yield from self._tree(place, (name,), leaves, trees.get(name))
            for name in trees:
                if name not in held:
                    yield Finding(kind="gone", place=f"{store}.{name}", detail="there is none")
        yield from self._tree("qdrant.payload", ("payload",), seen.payload or {}, policy.payload)
        yield from self._vectors()
        yield from self._keys()
        for directory, groups in seen.files.items():
            yield from self._files(directory, groups)

    def _tree(
        self, place: str, about: Path, leaves: Leaves, tree: Tree | None
    ) -> Iterator[Finding]:
        if tree is None:
            return
        for path, leaf in leaves.items():
            rule = rule_at(tree, path)
            if rule is not None and rule.keeps and not rule.option("because"):
                advice = advise((*about, *path), leaf, self._known)
                if advice.personal and advice.sure:
                    name = f"{place}.{joined(path)}" if path else place
                    yield _kept(name, advice, rule.where)
        if place in self._seen.whole:
            yield from _gone(place, leaves, tree)

    def _vectors(self) -> Iterator[Finding]:
        for name in self._seen.vectors:
            rule = self._policy.vectors.get(name)
            if rule is not None and rule.keeps and not rule.option("because"):
                place = f"qdrant.vectors.{name}" if name else "qdrant.vector"
                yield _kept(place, vector((name or "text",)), rule.where)

    # --- names ------------------------------------------------------------------------------------

    def _keys(self) -> Iterator[Finding]:
        used: set[str] = set()
        for group in self._seen.keys:
            rule = _matching(self._policy.redis, group.example[0], group.type)
            if rule is None:
                continue
            used.add(rule.name)
            place = f"redis.{rule.name}"
            yield from self._parts(place, group, rule)
            tree = rule.fields or rule.json or Tree(rule=rule.value)
            found = self._tree(place, about_of(group), group.leaves, tree)
            yield from (one for one in found if one.kind == "kept" and not rule.because)
        if "redis.keys" in self._seen.whole:
            for rule in self._policy.redis:
                if rule.name not in used:
                    yield _unmatched("key", f"redis.{rule.name}", rule.where)

    def _files(self, directory: str, groups: Sequence[FileGroup]) -> Iterator[Finding]:
        rules = self._policy.files.get(directory, ())
        used: set[str] = set()
        for group in groups:
            kind = "link" if group.content == "link" else "file"
            rule = next(
                (
                    one
                    for one in rules
                    if (one.content == "link") == (kind == "link")
                    and one.template.regex.fullmatch(group.example[0])
                ),
                None,
            )
            if rule is None:
                continue
            used.add(rule.name)
            place = f"files.{directory}.{rule.name}"
            yield from self._parts(place, group, rule)
            if rule.because or rule.content not in ("copy", "json", "jsonl", "csv"):
                continue
            tree = Tree(rule=Rule(strategy="keep")) if rule.content == "copy" else rule.tree
            found = self._tree(place, about_of(group), group.leaves, tree)
            yield from (one for one in found if one.kind == "kept")
        if f"files.{directory}" in self._seen.whole:
            for rule in rules:
                if rule.name not in used and not self._is_spoken_of(directory, rule):
                    yield _unmatched("file", f"files.{directory}.{rule.name}", rule.where)

    def _is_spoken_of(self, directory: str, rule: FileRule) -> bool:
        """Whether a path in another store has this form: `path` masks it by this template."""
        form = template(f"{directory}/{rule.name}", "/").regex.fullmatch
        texts = (text for _, leaf in self._seen.leaves() for text in leaf.texts if "/" in text)
        return any(form(text) for text in texts)

    def _parts(
        self, place: str, group: KeyGroup | FileGroup, rule: RedisRule | FileRule
    ) -> Iterator[Finding]:
        """Parts of a name that look personal and that the rule's template keeps."""
        name, values = group.example
        if rule.because:
            return
        for advice, value in zip(key_parts(group, self._known), values, strict=True):
            if advice.personal and advice.sure and value in _kept_parts(rule.template, name):
                yield Finding(
                    kind="kept",
                    place=place,
                    detail=f"a part of the name: {advice.reason}; write {{{advice.strategy}}}, "
                    f'or because = "..." ({rule.where})',
                )


def _matching(rules: Sequence[RedisRule], name: str, kind: str) -> RedisRule | None:
    found = (one for one in rules if one.type == kind and one.template.regex.fullmatch(name))
    return next(found, None)


def _kept_parts(one: Template, name: str) -> set[str]:
    match = one.regex.fullmatch(name)
    if match is None:
        return set()
    groups = zip(one.groups, match.groups(), strict=True)
    return {part for (kind, _), part in groups if kind == KEPT}


def _kept(place: str, advice: Advice, where: str) -> Finding:
    detail = f"{advice.reason}; {advice.strategy} would fit, {ACCEPT} ({where})"
    return Finding(kind="kept", place=place, detail=detail)


def _unmatched(what: str, place: str, where: str) -> Finding:
    return Finding(kind="gone", place=place, detail=f"no {what} has this form ({where})")


def _gone(place: str, leaves: Leaves, tree: Tree) -> Iterator[Finding]:
    used = {id(tree)}
    deciding = {joined(path) for path in _deciding(tree, leaves)}
    for path, rule in nodes(tree):
        if path and joined(path) not in deciding and id(rule) not in used:
            name = f"{place}.{joined(path)}"
            yield Finding(kind="gone", place=name, detail=f"it was not seen ({rule.where})")


def _deciding(tree: Tree, leaves: Leaves) -> Iterator[Path]:
    """The paths of the rules that decide over what was seen."""
    for path in leaves:
        node, at = tree, 0
        while at < len(path):
            if DEEP in node.children:
                yield (*path[:at], DEEP)
            part = path[at]
            if part not in node.children and ANY in node.children:
                part = ANY
            if part not in node.children:
                break
            node, at = node.children[part], at + 1
            yield (*path[: at - 1], part)
        else:
            if DEEP in node.children:
                yield (*path, DEEP)
