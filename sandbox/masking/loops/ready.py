"""Every loop of masking, compiled now unless that was done before."""

from __future__ import annotations

import struct

from sandbox.contract import Codec
from sandbox.masking.loops import SOME
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.model import Dataset, Field

POLICY = """
version = 1
[postgres.table]
mail = "email"
said = "text"
data.at = "text"
data.name = "person"
place = { strategy = "path", templates = ["{username}/*"] }
numbers = { strategy = "vector", method = "noise" }
[mongo.collection]
said = "text"
"""
TYPES = {"mail": "text", "said": "text", "data": "jsonb", "place": "text", "numbers": "vector"}
VALUES = (
    "王@x.com".encode(),  # of this one Python makes the pseudonym
    "call 王小明 on +44 20 7946 0018".encode(),
    b'\1{"at": "it was Ann Lee", "name": "Ann"}',
    b"ann/1.jpg",
    struct.pack(">hhf", 1, 0, 0.5),
)


SAID = b"\2said\0" + struct.pack("<i", len(VALUES[1]) + 1) + VALUES[1] + b"\0\0"
DOCUMENT = struct.pack("<i", len(SAID) + 4) + SAID
NOTHING = Codec(decode=lambda data: [], encode=lambda document: b"")  # for what is decoded


def ready() -> None:
    fields = tuple(Field(name=name, type=kind) for name, kind in TYPES.items())
    table = Dataset(store="postgres", name="table", rows=1 << 20, fields=fields)
    mask = PolicyMask(parse(POLICY, file="ready"), key="00" * 32)
    mask.columns(table)
    bulk = mask.bulk(table)
    if bulk is None:  # no compiler
        return
    from sandbox.masking.loops import numbers

    mask.take(table, ["mail"], b"a@b.cd\n" * 8)
    mask.originals.record("person", "王小明", "x")
    mask.originals.record("person", "Ann Lee", "x")
    fields_ = b"".join(struct.pack(">i", len(value)) + value for value in VALUES)
    bulk(bytearray(struct.pack(">h", len(VALUES)) + fields_), 1)
    mask.texts(table)["said"]([VALUES[1].decode()] * SOME)
    documents = mask.encoded(Dataset(store="mongo", name="collection", rows=1 << 20), NOTHING)
    assert documents is not None
    documents(DOCUMENT)
    numbers.without(VALUES[1])
