"""A private, masked, disposable copy of production over PostgreSQL, MongoDB, Qdrant, Redis and files."""

__version__ = "0.1.0"
