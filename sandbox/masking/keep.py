"""The mask that keeps everything: for reading the playground, where all is masked already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from sandbox.contract import Batches, Codec, Documents, Rows, Texts
from sandbox.model import Dataset, Entry, FileEntry, Point

CHUNK = 1 << 20  # bytes


class Keep:
    """Passes every value as it is, so that stores may pass raw bytes through."""

    uncovered: Mapping[str, str] = {}
    settings: Mapping[str, str] = {}

    def columns(self, table: Dataset) -> Mapping[str, str]:
        return {}

    def texts(self, table: Dataset) -> Mapping[str, Texts]:
        return {}

    def bulk(self, table: Dataset) -> Rows | None:
        return None

    def where(self, table: Dataset) -> str:
        return ""

    def documents(self, collection: str, documents: Documents) -> Documents:
        return documents

    def encoded(self, collection: Dataset, codec: Codec) -> Batches | None:
        return None

    def points(self, collection: str, points: Sequence[Point]) -> Sequence[Point]:
        return points

    def entries(self, entries: Sequence[Entry]) -> Sequence[Entry | None]:
        return entries

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        return file

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        while piece := stream.read(CHUNK):
            yield piece

    def keeps(self, dataset: Dataset) -> bool:
        return True


KEEP = Keep()
