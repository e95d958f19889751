"""The mask that keeps everything: for reading the playground, where all is masked already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from sandbox.model import Dataset, Entry, FileEntry, Point

CHUNK = 1 << 20  # bytes


class Keep:
    """Passes every value as it is, so that stores may pass raw bytes through."""

    uncovered: Mapping[str, str] = {}
    settings: Mapping[str, str] = {}

    def columns(self, table: Dataset) -> Mapping[str, str]:
        return {}

    def texts(self, table: Dataset) -> Mapping[str, Callable[[str], str | None]]:
        return {}

    def where(self, table: Dataset) -> str:
        return ""

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        return document

    def point(self, collection: str, point: Point) -> Point | None:
        return point

    def entry(self, entry: Entry) -> Entry | None:
        return entry

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        return file

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        while piece := stream.read(CHUNK):
            yield piece

    def keeps(self, dataset: Dataset) -> bool:
        return True


KEEP = Keep()
