"""What `isolate` finds missing: a statement, why it is needed, and whose password it sets."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from sandbox.model import Identity, Marker


@dataclass(frozen=True, kw_only=True)
class Change:
    """One missing thing: what would be run, why, and in which database."""

    query: sql.Composable
    why: str
    database: str = ""
    secret: Identity | None = None  # whose password the statement sets


class MarkerQuery(sql.Composable):
    """A marker as a statement: it keeps the comment that was there, so it is run by itself."""

    def __init__(self, schema: str, marker: Marker) -> None:
        super().__init__(schema)
        self.schema = schema
        self.marker = marker

    def as_bytes(self, context: object = None) -> bytes:
        whose = f"{self.marker.environment} of {self.marker.project}"
        return f"COMMENT ON SCHEMA \"{self.schema}\" IS 'sandbox: {whose}'".encode()
