"""The only package that talks to Docker (images.py makes the images for it)."""

from sandbox.engine.engine import Engine, ServiceStatus, connect

__all__ = ["Engine", "ServiceStatus", "connect"]
