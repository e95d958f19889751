"""What the administrator of a production that is not ours runs in a shell to make its reader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from sandbox.contract import Statement
from sandbox.model import Marker, QdrantSpace
from sandbox.stores.qdrant.collections import PLACEHOLDER
from sandbox.stores.qdrant.tokens import marker_collection

HEAD = '{"alg":"HS256","typ":"JWT"}'


def script(space: QdrantSpace, name: str, marker: Marker) -> Sequence[Statement]:
    """Safe to run again. `QDRANT_URL` and `QDRANT_API_KEY` are the administrator's own; the token
    is printed and made without asking the server."""
    beside = marker_collection(space.collection)
    access = [{"collection": one, "access": "r"} for one in (space.collection, beside)]
    claims = json.dumps({"sub": name, "access": access}, separators=(",", ":"))
    point = json.dumps(
        {"points": [{"id": 0, "vector": [1.0], "payload": {"marker": asdict(marker)}}]}
    )
    curl = 'curl -fsS -H "api-key: $QDRANT_API_KEY" -H "content-type: application/json" -X PUT'
    url = f"$QDRANT_URL/collections/{beside}"
    return [
        Statement(
            text="b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }\n"
            f"signed=$(printf %s '{HEAD}' | b64).$(printf %s '{claims}' | b64)\n"
            "key=$(printf %s \"$QDRANT_API_KEY\" | od -An -v -tx1 | tr -d ' \\n')\n"
            'echo "$signed.$(printf %s "$signed" | openssl dgst -sha256 -mac HMAC '
            '-macopt hexkey:$key -binary | b64)"',
            why="the reader's token, signed with the api-key (service.jwt_rbac must be on)",
        ),
        Statement(
            text=f'curl -fsS -o /dev/null -H "api-key: $QDRANT_API_KEY" "{url}" || '
            f"{curl} \"{url}\" -d '{json.dumps(PLACEHOLDER)}'\n"
            f"{curl} \"{url}/points?wait=true\" -d '{point}'",
            why="marks the collection as production, in a small one beside it",
        ),
    ]
