"""A mask that keeps every value but says that it does not: what is masked goes this way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.contract import Documents
from sandbox.masking.keep import Keep
from sandbox.model import Dataset, Entry, Point


class Decoded(Keep):
    """What derives from it changes or drops records one by one."""

    def keeps(self, dataset: Dataset) -> bool:
        return False

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        return document

    def point(self, collection: str, point: Point) -> Point | None:
        return point

    def entry(self, entry: Entry) -> Entry | None:
        return entry

    def documents(self, collection: str, documents: Documents) -> Documents:
        made = [self.document(collection, one) for one in documents]
        return [one for one in made if one is not None]

    def points(self, collection: str, points: Sequence[Point]) -> Sequence[Point]:
        made = [self.point(collection, one) for one in points]
        return [one for one in made if one is not None]

    def entries(self, entries: Sequence[Entry]) -> Sequence[Entry | None]:
        return list(map(self.entry, entries))
