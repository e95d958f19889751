"""What the administrator of a production that is not ours runs in a shell to open its files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict

from sandbox.contract import Statement
from sandbox.model import FilesSpace, Marker
from sandbox.stores.files import marks


def script(space: FilesSpace, name: str, marker: Marker) -> Sequence[Statement]:
    """Safe to run again. READER is the user that runs this tool."""
    found = []
    for directory in space.directories.values():
        path = shlex.quote(str(directory))
        beside = shlex.quote(str(marks.beside(directory)))
        found += [
            Statement(
                text=f'setfacl -R -m "u:$READER:rX,d:u:$READER:rX" {path}',
                why="the user $READER reads these files and writes none",
            ),
            Statement(
                text=f"printf %s {shlex.quote(json.dumps(asdict(marker)))} > {beside}",
                why="marks the directory as production, beside it",
            ),
        ]
    return found
