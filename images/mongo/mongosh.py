"""Just enough of mongosh for a health check: --quiet --eval "db.adminCommand({ping: 1}).ok"."""

from __future__ import annotations

import sys

from pymongo import MongoClient
from pymongo.errors import PyMongoError

try:
    client: MongoClient = MongoClient(
        "127.0.0.1", 27017, directConnection=True, serverSelectionTimeoutMS=2000
    )
    print(int(client.admin.command("ping")["ok"]))
except PyMongoError as error:
    sys.exit(f"mongosh: {error}")
