"""PostgreSQL: a space is a schema; identities are roles."""

from sandbox.contract import Backend
from sandbox.stores.postgres.admin import PostgresAdmin
from sandbox.stores.postgres.probe import PostgresProber
from sandbox.stores.postgres.script import script
from sandbox.stores.postgres.source import PostgresSource
from sandbox.stores.postgres.store import PostgresStore

BACKEND = Backend(
    source=PostgresSource,
    store=PostgresStore,
    admin=PostgresAdmin,
    prober=PostgresProber,
    script=script,
)
