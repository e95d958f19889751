"""COPY's messages: one by one in Python, or in a compiled loop. Both must give the same."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sandbox.stores.postgres import receiving, streaming
from tests.contract.postgres_world import World, database

LARGE = 3_000_000  # bytes of one value: many times a piece
DDL = f"""
CREATE TABLE many (id bigint PRIMARY KEY, said text);
INSERT INTO many SELECT n, CASE WHEN n % 7 > 0 THEN repeat('x', n % 300) END
  FROM generate_series(1, 20000) n;
INSERT INTO many VALUES (20001, repeat('y', {LARGE})), (20002, NULL), (20003, repeat('z', {LARGE}));
CREATE TABLE none (id bigint);
"""
SIZE = 10_000
WAYS = {"one by one": streaming._one_by_one, "compiled": receiving.messages}


@pytest.fixture(scope="module")
def world(postgres_server: Any) -> Iterator[World]:
    with database(postgres_server, isolated=["many", "none"], ddl=DDL) as made:
        yield made


@pytest.fixture(params=WAYS)
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(
        streaming, "_messages", lambda connection, size, many: WAYS[request.param](connection, size)
    )
    return str(request.param)


def another(world: World) -> psycopg.Connection[Any]:
    info = world.client.info
    return psycopg.connect(info.dsn, password=info.password, autocommit=True)


def query(table: str, form: str) -> sql.Composed:
    text = "COPY {} TO STDOUT (FORMAT {})"
    return sql.SQL(text).format(sql.Identifier(table), sql.SQL(form))


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("table", ["many", "none"])
def test_every_byte_and_row_comes_once(world: World, way: str, table: str, form: str) -> None:
    with world.client.cursor() as cursor, cursor.copy(query(table, form)) as copy:
        expected = b"".join(map(bytes, copy))
    pieces = list(streaming.pieces(world.client, query(table, form), None, size=SIZE))
    assert b"".join(data for _, data in pieces) == expected
    assert sum(rows for rows, _ in pieces) == (20003 if table == "many" else 0)
    assert max(len(data) for _, data in pieces) < LARGE + 2 * SIZE
    if table == "many":
        assert len(pieces) > len(expected) // LARGE + 100


def test_what_changes_rows_is_given_whole_ones_and_their_number(world: World, way: str) -> None:
    def change(data: Any, count: int) -> bytes:
        assert bytes(data).count(b"\n") == count and bytes(data)[-1:] in (b"\n", b"")
        return b"<" + bytes(data) + b">"

    stream = streaming.pieces(world.client, query("many", "text"), change, size=SIZE)
    assert all(data[:1] + data[-1:] == b"<>" for _, data in stream)


def test_a_stream_that_the_server_ends_says_why(world: World, way: str) -> None:
    failing = sql.SQL("COPY (SELECT 1 / (5000 - id) FROM many) TO STDOUT").format()
    with pytest.raises(psycopg.errors.DivisionByZero):
        list(streaming.pieces(world.client, failing, None, size=SIZE))
    assert world.client.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_is_cut_says_so(world: World, way: str) -> None:
    slow = "COPY (SELECT pg_sleep(0.001), repeat('x', 1000) FROM many) TO STDOUT"
    with another(world) as other:
        stream = streaming.pieces(other, sql.SQL(slow).format(), None, size=SIZE)
        next(stream)
        world.client.execute("SELECT pg_terminate_backend(%s)", [other.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            list(stream)


def test_a_socket_that_is_closed_says_so(world: World) -> None:
    """What libpq itself says: no answer of the server's came."""
    with another(world) as other:
        stream = streaming.pieces(other, query("many", "text"), None, size=SIZE, many=True)
        next(stream)
        receiving._C.shutdown(other.fileno(), 2)
        with pytest.raises(psycopg.OperationalError, match=r"\w"):
            list(stream)


def test_a_connection_that_was_closed_says_so(world: World, way: str) -> None:
    other = another(world)
    stream = streaming.pieces(other, query("many", "text"), None, size=SIZE)
    next(stream)
    other.close()
    with pytest.raises(psycopg.OperationalError, match=r"closed|NULL"):
        list(stream)


def test_a_message_that_did_not_fit_is_freed_when_nobody_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[int] = []
    real = receiving.released

    def released(held: Any) -> None:
        freed.append(int(held[1]))
        real(held)
        assert held.tolist() == [0, 0]

    monkeypatch.setattr(receiving, "released", released)
    with another(world) as other:
        stream = streaming.pieces(other, query("many", "binary"), None, size=SIZE, many=True)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert other.execute("SELECT 1").fetchone() == (1,)
    assert len(freed) == 1 and freed[0] > 0


def test_without_a_compiler_or_a_libpq_messages_come_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "COMPILER", "no_such_compiler")
    few = streaming._messages(world.client, SIZE, many=False)
    assert few.gi_code is streaming._one_by_one.__code__  # type: ignore[attr-defined]
    many = streaming._messages(world.client, SIZE, many=True)
    assert many.gi_code is receiving.messages.__code__  # type: ignore[attr-defined]
    monkeypatch.setattr(streaming, "RECEIVING", "sandbox.stores.postgres.no_such_module")
    many = streaming._messages(world.client, SIZE, many=True)
    assert many.gi_code is streaming._one_by_one.__code__  # type: ignore[attr-defined]


def test_a_psycopg_that_is_not_compiled_has_no_libpq_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules[psycopg.pq.PGconn.__module__], "__file__", __file__)
    with pytest.raises(ImportError, match="no libpq"):
        receiving._libpq()
    with pytest.raises(ImportError, match="no PQno_such_function"):
        receiving._function(ctypes.CDLL(None), "PQno_such_function", None)
