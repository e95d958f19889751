"""Puts staged collections in place and back again, by renames that a journal lets anyone repeat.

MongoDB renames one collection at a time. So what goes out and what comes in is written down first;
after that every step looks at what is there, and may be run again from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from sandbox.errors import SandboxError
from sandbox.stores.mongo import design, patch, rewind
from sandbox.stores.mongo.design import View
from sandbox.stores.mongo.session import MARKER, NEW, OLD, Client, Document, is_own_name

STAGED, SWAP, AFTER = "staged", "swap", "old"  # documents beside the marker, one per state
BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What goes out, what comes in, and the views before and after."""

    outgoing: Sequence[str]
    incoming: Sequence[str]
    old_views: Sequence[View]
    new_views: Sequence[View]
    patched: Sequence[str] = ()  # collections that stay in place, some documents of which change

    def document(self) -> Document:
        return {
            "outgoing": list(self.outgoing),
            "incoming": list(self.incoming),
            "old_views": design.views_to_text(self.old_views).decode(),
            "new_views": design.views_to_text(self.new_views).decode(),
            "patched": list(self.patched),
        }


def journal(document: Mapping[str, Any]) -> Journal:
    return Journal(
        outgoing=document["outgoing"],
        incoming=document["incoming"],
        old_views=design.views_from_text(document["old_views"].encode()),
        new_views=design.views_from_text(document["new_views"].encode()),
        patched=document.get("patched", ()),
    )


class Swapper:
    """The states of one database: staged -> swap -> old, and back."""

    def __init__(self, client: Client, base: Database[Document]) -> None:
        self._client, self._base = client, base
        self._marks = base[MARKER]

    def swap(self) -> None:
        if self._get(AFTER):
            return
        staged = self._get(STAGED)
        if not staged:
            raise SandboxError("nothing is staged", where="mongo", hint="./inv load")
        log = self._begun(staged)
        self._drop_views([*log.old_views, *log.new_views])
        for name in sorted({*log.outgoing, *log.incoming}):
            self._into_place(name, log)
        for name in log.patched:
            patch.apply(self._base, NEW, name)
        self._make_views(log.new_views)
        self._finish(staged, log)

    def undo(self) -> None:
        found = self._get(AFTER) or self._get(SWAP)
        if not found:
            return
        log = journal(found)
        self._drop_views([*log.old_views, *log.new_views])
        for name in sorted({*log.outgoing, *log.incoming}):
            self._out_of_place(name, log)
        for name in log.patched:
            patch.apply(self._base, OLD, name)
        self._make_views(log.old_views)
        if "marker" in found:
            self._put("marker", found["marker"])
        self._marks.delete_many({"_id": {"$in": [STAGED, SWAP, AFTER]}})

    def settle(self) -> None:
        """The journal goes first: from then on the leftovers count as nothing."""
        after = self._get(AFTER)
        if self._get(SWAP) and not after:
            self.undo()
        if after:
            rewind.advance(self._base, after.get("since", {}))
        self._marks.delete_many({"_id": {"$in": [STAGED, SWAP, AFTER]}})
        for name in self._present():
            if name.startswith((NEW, OLD)):
                self._base.drop_collection(name)

    def swapped(self) -> bool:
        return bool(self._get(AFTER))

    # --- steps, each of which may be repeated --------------------------------------------------

    def _begun(self, staged: Document) -> Journal:
        """The journal of this swap, written now if it is not there."""
        found = self._get(SWAP)
        if found:
            return journal(found)
        present = [
            (c["name"], c["type"], c.get("options", {}))
            for c in self._base.list_collections()
            if not is_own_name(c["name"])
        ]
        log = Journal(
            outgoing=[
                name
                for name, kind, _ in present
                if kind != "view" and name not in staged.get("kept", ())
            ],
            incoming=staged["collections"],
            old_views=design.in_order(
                [design.view(name, options) for name, kind, options in present if kind == "view"]
            ),
            new_views=design.views_from_text(staged["views"].encode()),
            patched=staged.get("patched", ()),
        )
        self._put(SWAP, log.document())
        return log

    def _into_place(self, name: str, log: Journal) -> None:
        present = self._present()
        if name in log.outgoing and OLD + name not in present and name in present:
            self._move(name, OLD + name)
        if name in log.incoming and NEW + name in present:
            self._move(NEW + name, name)

    def _out_of_place(self, name: str, log: Journal) -> None:
        present = self._present()
        if OLD + name in present:
            self._move(OLD + name, name)
        elif name in log.incoming and name not in log.outgoing and NEW + name not in present:
            self._base.drop_collection(name)

    def _finish(self, staged: Document, log: Journal) -> None:
        present = self._get("marker")
        since = staged.get("since", {})
        self._put(AFTER, {**log.document(), "marker": present, "since": since})
        self._put("marker", staged["marker"])
        self._marks.delete_many({"_id": {"$in": [STAGED, SWAP]}})

    def _move(self, source: str, target: str) -> None:
        """Rename over whatever stands there. No server renames a time-series collection: it is
        copied, and the source goes last so that a repeated copy starts again."""
        found = next(iter(self._base.list_collections(filter={"name": source})), None)
        options = found["options"] if found else {}
        if "timeseries" not in options:
            name = self._base.name
            self._client.admin.command(
                "renameCollection", f"{name}.{source}", to=f"{name}.{target}", dropTarget=True
            )
            return
        self._base.drop_collection(target)
        kept = {key: options[key] for key in design.CARRIED if key in options}
        self._base.command("create", target, **kept)
        batch: list[Document] = []
        for document in self._base[source].find({}):
            batch.append(document)
            if len(batch) == BATCH:
                self._base[target].insert_many(batch)
                batch = []
        if batch:
            self._base[target].insert_many(batch)
        indexes = [design.told(index) for index in self._base[source].list_indexes()]
        create_indexes(self._base, target, [index for index in indexes if index])
        self._base.drop_collection(source)

    def _drop_views(self, views: Sequence[View]) -> None:
        present = {c["name"] for c in self._base.list_collections() if c["type"] == "view"}
        for name in {view.name for view in views} & present:
            self._base.drop_collection(name)

    def _make_views(self, views: Sequence[View]) -> None:
        for view in views:
            options: Document = {"viewOn": view.on, "pipeline": list(view.pipeline)}
            if view.collation:
                options["collation"] = view.collation
            self._base.command("create", view.name, **options)

    def _present(self) -> set[str]:
        return set(self._base.list_collection_names())

    def _get(self, state: str) -> Document | None:
        return self._marks.find_one({"_id": state})

    def _put(self, state: str, document: Mapping[str, Any] | None) -> None:
        rest = {key: value for key, value in (document or {}).items() if key != "_id"}
        self._marks.replace_one({"_id": state}, rest, upsert=True)


def create_indexes(base: Database[Document], name: str, indexes: Sequence[Document]) -> None:
    if indexes:
        base.command("createIndexes", name, indexes=list(indexes))
