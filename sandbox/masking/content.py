"""What is inside files: copied, masked as JSON, CSV or text, or replaced by a placeholder."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterator
from typing import IO

from sandbox.errors import Refused
from sandbox.masking.trees import Node, Walker

CHUNK = 1 << 20  # bytes
LARGEST = 256 << 20  # bytes of one JSON file: it is read whole
_GIF = "R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNiAAAABgADNjd8qAAAAABJRU5ErkJggg=="
)
_JPEG = (
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////"
    "////////////////////////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAA"
    "AAAAAAAAAAD/2gAIAQEAAD8AN//Z"
)
PLACEHOLDERS = {
    "gif": base64.b64decode(_GIF),
    "png": base64.b64decode(_PNG),
    "jpg": base64.b64decode(_JPEG),
    "jpeg": base64.b64decode(_JPEG),
    "mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\x00\x00\x00\x08free",
}
OTHER = b"a placeholder: the original is not copied\n"
Lines = Callable[[str], str]


def placeholder(path: str) -> bytes:
    """A smallest file of the same kind, so that what opens it does not fail."""
    return PLACEHOLDERS.get(path.rpartition(".")[2].lower(), OTHER)


def copied(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(CHUNK):
        yield piece


def as_json(stream: IO[bytes], walker: Walker, place: str) -> Iterator[bytes]:
    data = bytearray()
    for piece in copied(stream):  # read(LARGEST) would ask for so much memory at once
        data += piece
        if len(data) > LARGEST:
            raise Refused(f"{place} is too large to mask as JSON", hint="use placeholder or skip")
    made = walker.json(walker.root, bytes(data), "")
    if made is None:
        raise Refused(f"{place} is not valid JSON", hint="use placeholder or skip")
    yield made.encode()


def as_json_lines(stream: IO[bytes], walker: Walker, place: str) -> Iterator[bytes]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            yield line
            continue
        made = walker.json(walker.root, line, "")
        if made is None:
            raise Refused(
                f"{place}: line {number} is not valid JSON", hint="use placeholder or skip"
            )
        yield made.encode() + b"\n"


def as_csv(
    stream: IO[bytes], root: Node, walker: Walker, uncovered: Callable[[str], None]
) -> Iterator[bytes]:
    """CSV with a header line; the writer's dialect is the csv module's default."""
    rows = csv.reader(io.TextIOWrapper(stream, "utf-8", newline=""))
    header = next(rows, None)
    if header is None:
        return
    nodes = [root.children.get(name) or root.any or root.deep for name in header]
    for name, node in zip(header, nodes, strict=True):
        if node is None:
            uncovered(name)
    yield _row(header)
    for row in rows:
        made = []
        for index, value in enumerate(row):
            node = nodes[index] if index < len(nodes) else None
            made.append("" if node is None else _cell(walker, node, value))
        yield _row(made)


def _cell(walker: Walker, node: Node, value: str) -> str:
    if node.keep or not value:
        return value
    made = walker.value(node, value, "")
    return "" if made is None else str(made)


def _row(values: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def as_text(stream: IO[bytes], mask: Lines) -> Iterator[bytes]:
    for line in stream:
        yield mask(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
