"""What the administrator of a production that is not ours runs with mongosh to make its reader."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sandbox.contract import Statement
from sandbox.model import Marker, MongoSpace
from sandbox.stores.mongo.roles import WHY, privileges
from sandbox.stores.mongo.session import MARKER, marker_document


def script(space: MongoSpace, name: str, marker: Marker) -> Sequence[Statement]:
    """Safe to run again. mongosh asks for the password."""
    base, who = f"db.getSiblingDB({json.dumps(space.database)})", json.dumps(name)
    admin = 'db.getSiblingDB("admin")'
    role = json.dumps({"privileges": privileges("reader", space.database), "roles": []})
    made = {"role": name, **json.loads(role)}
    held = json.dumps([{"role": name, "db": space.database}])
    document = json.dumps({"_id": "marker", **marker_document(marker)})
    return [
        Statement(
            text=f"if ({base}.getRole({who})) {{ {base}.updateRole({who}, {role}) }} "
            f"else {{ {base}.createRole({json.dumps(made)}) }}",
            why=WHY["reader"],
        ),
        Statement(
            text=f"if ({admin}.getUser({who})) {{ {admin}.updateUser({who}, {{roles: {held}}}) }} "
            f"else {{ {admin}.createUser({{user: {who}, pwd: passwordPrompt(), roles: {held}, "
            'mechanisms: ["SCRAM-SHA-256"]}) }',
            why="the reader's login; mongosh asks for the password",
        ),
        Statement(
            text=f'{base}.{MARKER}.replaceOne({{_id: "marker"}}, {document}, {{upsert: true}})',
            why="marks the database as production",
        ),
    ]
