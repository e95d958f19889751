"""The only package that talks to Docker (images.py makes the images for it)."""

from sandbox.engine.baselines import Baseline
from sandbox.engine.connecting import connect
from sandbox.engine.engine import Engine, ServiceStatus
from sandbox.engine.showing import Shown

__all__ = ["Baseline", "Engine", "ServiceStatus", "Shown", "connect"]
