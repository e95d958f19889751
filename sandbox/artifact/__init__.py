"""A snapshot on disk: zstd streams, a manifest with checksums; finished or not there at all.

    <root>/20261123T101500Z-1f2e/manifest.json
                                 postgres/videos.zst, postgres/@catalog.zst, ...

It is written as `<id>.partial`, every file synced, and renamed last (P4). A part's bytes are those
of `Source.read`, in the store's documented format (docs/artifact.md). The snapshot itself never
changes; what is learned of it later stands beside it in `results.json`.
"""

from sandbox.artifact.comparing import diff
from sandbox.artifact.reading import Artifact, listing, open, results, update_facts
from sandbox.artifact.sharing import export, import_, is_encrypted
from sandbox.artifact.writing import (
    Part,
    Writer,
    clean,
    create,
    interrupted,
    prune,
    remove,
    resume,
)

__all__ = [
    "Artifact",
    "Part",
    "Writer",
    "clean",
    "create",
    "diff",
    "export",
    "import_",
    "interrupted",
    "is_encrypted",
    "listing",
    "open",
    "prune",
    "remove",
    "results",
    "resume",
    "update_facts",
]
