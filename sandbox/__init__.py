"""A private, masked, disposable copy of production over five stores."""

__version__ = "0.1.0"
