"""`python -m sandbox.engine.sweeping PROJECT IMAGES`: removes the old containers of finished swaps,
then makes ahead what the next reset to IMAGES (JSON, service -> image id) will take."""

from __future__ import annotations

import json
import os
import sys

from sandbox.engine import connect

if __name__ == "__main__":
    os.nice(10)
    engine = connect(environment=os.environ)
    engine.sweep(sys.argv[1])
    engine.make_ahead(sys.argv[1], json.loads(sys.argv[2]))
