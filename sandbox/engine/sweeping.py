"""`python -m sandbox.engine.sweeping PROJECT IMAGES`: removes the old containers of finished swaps,
then makes ahead what the next reset to IMAGES (JSON, service -> image id) will take."""

from __future__ import annotations

import json
import os
import sys
import time

LATER_S = 1.0  # meanwhile the command that started this ends, and the first questions are asked

if __name__ == "__main__":
    os.nice(10)
    time.sleep(LATER_S)
    from sandbox.engine import connect

    engine = connect(environment=os.environ)
    engine.sweep(sys.argv[1])
    engine.make_ahead(sys.argv[1], json.loads(sys.argv[2]))
