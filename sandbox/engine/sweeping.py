"""`python -m sandbox.engine.sweeping PROJECT`: removes the old containers of finished swaps."""

from __future__ import annotations

import os
import sys

from sandbox.engine import connect

if __name__ == "__main__":
    os.nice(10)
    connect(environment=os.environ).sweep(sys.argv[1])
