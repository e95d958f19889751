"""A stand-in for Qdrant's REST server over qdrant-edge, for machines without a registry."""
