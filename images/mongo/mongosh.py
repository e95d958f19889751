"""Just enough of mongosh for a health check: --quiet --eval "db.adminCommand({ping: 1}).ok".

It speaks the wire protocol by hand (OP_MSG, one BSON document), so that a check every two seconds
costs milliseconds.
"""

from __future__ import annotations

import re
import socket
import struct
import sys

OP_MSG = 2013


def main(arguments: list[str]) -> None:
    asked = "".join(arguments)
    if not re.search(r"(adminCommand|runCommand)\(['\"{\s]*ping", asked):
        sys.exit("mongosh: this stand-in can ping only: --eval \"db.adminCommand('ping').ok\"")
    port = re.search(r"--port=?(\d+)", asked) or re.search(r"mongodb://[^/]*:(\d+)", asked)
    try:
        print(ping("127.0.0.1", int(port[1]) if port else 27017))
    except OSError as error:
        sys.exit(f"mongosh: {error}")


def ping(host: str, port: int) -> int:
    """1 when the server answers ok. Raises OSError."""
    body = b"\x10ping\0" + struct.pack("<i", 1) + b"\x02$db\0" + struct.pack("<i", 6) + b"admin\0"
    document = struct.pack("<i", len(body) + 5) + body + b"\0"
    content = struct.pack("<ib", 0, 0) + document
    with socket.create_connection((host, port), timeout=5) as server:
        server.sendall(struct.pack("<iiii", len(content) + 16, 1, 0, OP_MSG) + content)
        answer = b""
        while len(answer) < 4 or len(answer) < struct.unpack("<i", answer[:4])[0]:
            piece = server.recv(65536)
            if not piece:
                raise OSError("the server hung up")
            answer += piece
    found = answer.find(b"\x01ok\0")
    if found < 0:
        raise OSError("the server's answer has no ok")
    return int(struct.unpack("<d", answer[found + 4 : found + 12])[0])


main(sys.argv[1:])
