"""An app that goes on reading and writing, through prepared statements on several connections, and keeps account of how
long it waited, what failed, and what it saw.

Its tables are two large ones and two small ones. Every answer is looked at: a row that is not there though it always
was is a wrong answer, even if no statement failed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

CONNECTIONS = 4
PAUSE = 0.03
"""Seconds after each round of statements: four connections then do some 500 statements a second."""
MB = 1_000_000

TABLES = """
CREATE TABLE notes (id bigint PRIMARY KEY, written timestamptz, body text, seen bigint NOT NULL DEFAULT 0);
CREATE TABLE files (id bigint PRIMARY KEY, content bytea);
CREATE TABLE visits (id bigserial PRIMARY KEY, note bigint REFERENCES notes, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE state (marker text);
ALTER TABLE files ALTER content SET STORAGE EXTERNAL;
CREATE INDEX ON notes (written);
INSERT INTO state VALUES ('as in the backup');
"""
NOTES = """
INSERT INTO notes SELECT n, to_timestamp(n), (
    SELECT string_agg(encode(sha512(format('%%s:%%s', n, i)::bytea), 'base64'), ' ') FROM generate_series(1, 8) i)
FROM generate_series(%s::bigint, %s::bigint) n
"""
FILES = """
INSERT INTO files SELECT n, (SELECT string_agg(sha512(format('%%s;%%s', n, i)::bytea), '')
    FROM generate_series(1, 16384) i)
FROM generate_series(%s::bigint, %s::bigint) n
"""
SIZE = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace
"""
ROWS = 4000
"""The notes that there are for each file."""

Statements = Callable[[], Iterator[tuple[str, list[object]]]]
"""Makes one round of an app's statements, with their parameters. Each is a transaction and answers with a row."""


def fill(url: str, schema: str, size: int) -> int:
    """The app's tables, with rows of 700 bytes, and a fourth of it in rows of 1 MiB, until all of it is as large; the
    rows do not compress well. Returns the size."""
    done = made = 0
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
        while done < size:
            step = max(1, min(100 * MB, size - done) // (4 * MB))  # so much each of them makes
            connection.execute(NOTES, [made * ROWS + 1, (made + step) * ROWS])
            connection.execute(FILES, [made + 1, made + step])
            made += step
            [done] = connection.execute(SIZE, [schema]).fetchone() or [0]
    return done


def statements() -> Iterator[tuple[str, list[object]]]:
    note = random.randint(1, ROWS)
    yield "SELECT marker FROM state", []
    yield "SELECT body FROM notes WHERE id = %s", [note]
    yield "UPDATE notes SET seen = seen + 1 WHERE id = %s RETURNING id", [note]
    yield "INSERT INTO visits (note) VALUES (%s) RETURNING id", [note]
    yield "SELECT count(*) FROM (SELECT FROM visits ORDER BY id DESC LIMIT 20) latest", []


@dataclass
class Account:
    """What the app has to say. Times are those of `time.monotonic`."""

    waits: list[tuple[float, float, str]] = field(default_factory=list)
    """When each statement began, how long it took, and which it was."""
    failed: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    """Answers without a row that ought to be there."""
    restored_at: float | None = None
    """When the rows of the backup were seen first."""

    def since(self, time: float) -> list[tuple[float, float, str]]:
        return [wait for wait in self.waits if wait[0] + wait[1] >= time]


@contextmanager
def running(url: str, round_: Statements = statements, pause: float = PAUSE) -> Iterator[Account]:
    """The app lives until the block is left. Another one has other statements, and another pause after each round."""
    account, stop = Account(), threading.Event()
    threads = [threading.Thread(target=_live, args=(url, round_, pause, account, stop)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        yield account
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _live(url: str, round_: Statements, pause: float, account: Account, stop: threading.Event) -> None:
    connection = None
    while not stop.is_set():
        if connection is None or connection.closed:
            connection = psycopg.connect(url, autocommit=True)
        for statement, parameters in round_():
            _ask(connection, statement, parameters, account)
        stop.wait(pause)
    if connection:
        connection.close()


def _ask(connection: psycopg.Connection, statement: str, parameters: list[object], account: Account) -> None:
    began, row = time.monotonic(), None
    try:
        row = connection.execute(statement.encode(), parameters, prepare=True).fetchone()
        account.wrong += row is None
    except psycopg.Error as error:
        account.failed[type(error).__name__] += 1
        with suppress(psycopg.Error):
            connection.rollback()
    ended = time.monotonic()
    account.waits.append((began, ended - began, statement))
    if row == ("as in the backup",) and account.restored_at is None:
        account.restored_at = ended
