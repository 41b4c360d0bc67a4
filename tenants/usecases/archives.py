"""Archives: what pg_dump writes, as a stream into storage and back out of it. Nothing is written to disk on the way,
and memory does not grow with its size."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import zstandard

from tenants.core.contents import Tally
from tenants.core.errors import ProgramError, SnapshotError, WrongIdentity
from tenants.core.events import Event, Tell, watched
from tenants.core.manifest import Manifest
from tenants.core.names import quoted
from tenants.core.settings import DatabaseUrl
from tenants.edges import age, programs, session
from tenants.edges.programs import PIECE, Programs
from tenants.edges.store import Store

ZSTD_LEVEL = 1
LOCK_WAIT = "30s"
"""How long pg_dump waits for a table that somebody has locked."""


class Sent:
    """What pg_dump has written: its digest as it was sent, its sizes, and what pg_restore made of it."""

    def __init__(self) -> None:
        self.digest, self.text = hashlib.sha256(), Tally()
        self.size = self.raw_size = 0
        self.unchanged = False


class _UnchangedError(Exception):
    """Leaves the writer, so that nothing is stored."""


def dump(
    client: Programs,
    url: DatabaseUrl,
    tenant: str,
    schema: str | None,
    without: Sequence[tuple[str, str]],
    store: Store,
    key: str,
    tell: Tell,
    *,
    recipients: Sequence[str],
    unless: str | None,
    expected: int | None = None,
) -> Sent:
    """Dump into storage, encrypted for the recipients if there are any, unless the content is that of the digest
    `unless`: then nothing is stored. How many bytes it will be is only `expected`."""
    sent = Sent()
    arguments = ["--format=custom", "--compress=0", f"--lock-wait-timeout={LOCK_WAIT}"]
    arguments.append(f"--schema={quoted(schema or tenant)}")
    if schema:
        arguments += ["--no-privileges", *(f"--exclude-table={quoted(s)}.{quoted(name)}" for s, name in without)]
    with suppress(_UnchangedError), tempfile.TemporaryFile() as complaints, store.writer(key) as writer:

        def send(data: bytes) -> None:
            sent.digest.update(data)
            sent.size += len(data)
            writer.write(data)

        with (
            age.sealing(recipients, send) if recipients else nullcontext(send) as write,
            programs.start(
                client, "pg_dump", *arguments, url=url, stderr=complaints, settings=session.DUMPING
            ) as dumping,
            _reading(client, complaints) as reading,
        ):
            live = Event(tenant, "snapshot", "dumped", live=True, total=expected, about=True)
            pieces = _sending(dumping, sent, write, lambda: tell(replace(live, done=sent.raw_size)))
            for text in programs.through(reading, pieces):
                sent.text.feed(text)
            if dumping.wait() != 0:
                raise ProgramError(
                    f"pg_dump of {schema or tenant} failed: {_complaint(complaints, dumping)}",
                    next=f"tenants snapshot {tenant}" if schema is None else "mend that, and try again",
                )
            if reading.wait() != 0:
                raise ProgramError(
                    f"pg_restore cannot read what pg_dump wrote: {_complaint(complaints, reading)}", next="try again"
                )
        sent.unchanged = sent.text.digest() == unless
        if sent.unchanged:
            raise _UnchangedError
    return sent


def _reading(client: Programs, complaints: IO[bytes]) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """pg_restore, which makes SQL of the archive that it is fed."""
    same = ["--restrict-key=tenants"] if client.has_restrict_key else []
    return programs.start(client, "pg_restore", "--file=-", *same, stdin=subprocess.PIPE, stderr=complaints)


def _sending(
    process: subprocess.Popen[bytes], sent: Sent, write: Callable[[bytes], object], show: Callable[[], None]
) -> Iterator[bytes]:
    """What the process writes, on its way into storage."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
    for piece in _read(process):
        sent.raw_size += len(piece)
        write(compressor.compress(piece))
        show()
        yield piece
    write(compressor.flush())


def _read(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert process.stdout
    while piece := process.stdout.read(PIECE):
        yield piece


def _complaint(file: IO[bytes], process: subprocess.Popen[bytes]) -> str:
    """What was said, or how the process ended that said nothing: one that was killed does not."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 8000))
    code = process.returncode
    return programs.complaint(file.read()) or (f"killed by signal {-code}" if code < 0 else f"exit code {code}")


def read_back(store: Store, manifest: Manifest, tell: Tell) -> None:
    """Read the archive from storage and compare it with what was sent. Raises SnapshotError."""
    digest, count = hashlib.sha256(), 0
    for piece in watched(store.read(manifest.key), tell, manifest.tenant, "snapshot", "read back", manifest.size):
        digest.update(piece)
        count += len(piece)
    if (count, digest.hexdigest()) != (manifest.size, manifest.sha256):
        raise SnapshotError(
            f"{store.place(manifest.key)} is not what was sent: {count} bytes read back of {manifest.size}"
        )


def dumping(
    client: Programs, url: DatabaseUrl, schema: str, *, tables: Sequence[str] = (), settled: bool = True
) -> Generator[bytes, None, None]:
    """An archive of the schema, or of those tables in it, as it is now. Nothing is stored. `settled`: whether the
    session has the settings of `session.DUMPING`, as all but old snapshots were taken. Raises ProgramError."""
    which = [f"--table={quoted(schema)}.{quoted(table)}" for table in tables] or [f"--schema={quoted(schema)}"]
    with tempfile.TemporaryFile() as complaints:
        arguments = ["--format=custom", "--compress=0", f"--lock-wait-timeout={LOCK_WAIT}", *which]
        settings = session.DUMPING if settled else None
        with programs.start(client, "pg_dump", *arguments, url=url, stderr=complaints, settings=settings) as process:
            yield from _read(process)
            if process.wait() != 0:
                raise ProgramError(f"pg_dump of {schema} failed: {_complaint(complaints, process)}")


def contents(client: Programs, what: str, pieces: Iterable[bytes]) -> Tally:
    """What pg_restore finds in an archive. Raises SnapshotError."""
    text = Tally()
    with tempfile.TemporaryFile() as complaints, _reading(client, complaints) as process:
        for piece in programs.through(process, pieces):
            text.feed(piece)
        if process.wait() != 0:
            raise SnapshotError(
                f"pg_restore cannot read the archive of {what}: {_complaint(complaints, process)}",
                next="take another one",
            )
    return text


def archive(store: Store, manifest: Manifest, identity: Path | None) -> Generator[bytes, None, None]:
    """The snapshot's archive as pg_restore takes it, opened, decompressed and compared with the manifest as it passes.

    Raises SnapshotError at the latest before the last piece is handed out, if a byte is not what it was; WrongIdentity
    or Refused before the first one, if it is encrypted and `identity` does not open it. Memory is bounded whatever the
    object holds.
    """
    key = manifest.key
    damaged = SnapshotError(
        f"{store.place(key)} is damaged: it is not what its manifest says",
        next=f"take another one: tenants snapshots {manifest.tenant}",
    )
    source = _Counted(store.read(key), manifest.size)
    raw, last = 0, b""
    try:
        with (
            age.opening(source, identity, f"snapshot {manifest.id}")
            if manifest.recipients
            else nullcontext(cast("IO[bytes]", source)) as opened,
            zstandard.ZstdDecompressor(max_window_size=128 << 20).stream_reader(opened, closefd=False) as reader,
        ):
            while piece := reader.read(PIECE):
                raw += len(piece)
                if raw > manifest.raw_size:
                    raise damaged
                if last:
                    yield last
                last = piece
            while opened.read(PIECE):
                pass
    except WrongIdentity:
        source.drain()
        if source.matches(manifest):
            raise
        raise damaged from None
    except zstandard.ZstdError:
        raise damaged from None
    source.drain()
    if not source.matches(manifest) or raw != manifest.raw_size:
        raise damaged
    yield last


class _Counted:
    """Pieces of an object as something that can be read, with their digest. Stops a little past `limit` bytes."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces, self._limit, self._rest = pieces, limit, b""
        self.digest, self.count = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        if not self._rest and self.count <= self._limit:
            self._rest = next(self._pieces, b"")
            self.digest.update(self._rest)
            self.count += len(self._rest)
        piece, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return piece

    def matches(self, manifest: Manifest) -> bool:
        return (self.count, self.digest.hexdigest()) == (manifest.size, manifest.sha256)

    def drain(self) -> None:
        while self.read():
            pass


_TRANSACTION_TIMEOUT = re.compile(rb"^SET transaction_timeout = 0;\n", re.MULTILINE)


def replay(
    client: Programs,
    pieces: Iterable[bytes],
    url: DatabaseUrl,
    server_version: int,
    *,
    options: Sequence[str] = (),
    pass_fds: tuple[int, ...] = (),
    first: str | None = None,
    last: bytes = b"",
    seconds: float | None = None,
    seen: Callable[[bytes], object] | None = None,
) -> None:
    """Replay an archive as one transaction: pg_restore turns it into SQL, psql runs it. The last line of psql's input
    commits it, which is written only when all pieces have been handed out, so what is wrong with them undoes it all.
    That the input ends is not enough: it ends as well when we are killed.

    `first` is run before, `last` after it, in the same transaction; `seen` is told the text as it passes. Raises
    ProgramError with what the programs said, or that it was given up after `seconds`.
    """
    before = [f"--command={statement}" for statement in filter(None, ("BEGIN", first))]
    arguments = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *before, "--file=-"]
    with (
        tempfile.TemporaryFile() as complaints,
        programs.start(
            client,
            "psql",
            *arguments,
            url=url,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            settings=session.REPLAYING,
        ) as psql,
        programs.start(
            client,
            "pg_restore",
            "--file=-",
            *options,
            stdin=subprocess.PIPE,
            stderr=complaints,
            pass_fds=pass_fds,
        ) as pg_restore,
    ):
        assert psql.stdin
        broken = False
        with _deadline([psql, pg_restore], seconds) as late:
            try:
                for piece in _text(pg_restore, pieces, server_version):
                    if seen:
                        seen(piece)
                    psql.stdin.write(piece)
            except BrokenPipeError:
                broken = True
            if broken or pg_restore.wait() != 0:
                psql.kill()
            else:
                with suppress(BrokenPipeError):
                    psql.stdin.write(last + b"\nCOMMIT;\n")
                    psql.stdin.close()
            failed = psql.wait() != 0
        if failed:
            why = f"it was given up after {seconds:.0f} s" if late.is_set() else _complaint(complaints, psql)
            raise ProgramError(why)


@contextmanager
def _deadline(processes: Sequence[subprocess.Popen[bytes]], seconds: float | None) -> Iterator[threading.Event]:
    """Ends the processes after the time, and sets the event: a function that an archive sets off may never end."""
    late = threading.Event()

    def end() -> None:
        late.set()
        for process in processes:
            process.kill()

    watch = threading.Timer(seconds if seconds is not None else 0, end)
    watch.daemon = True
    if seconds is not None:
        watch.start()
    try:
        yield late
    finally:
        watch.cancel()


def _text(process: subprocess.Popen[bytes], pieces: Iterable[bytes], server_version: int) -> Iterator[bytes]:
    """The archive as SQL, without a setting that newer programs write and servers before 17 do not know."""
    preamble = server_version < 170000
    for piece in programs.through(process, pieces):
        if preamble and b"SET transaction_timeout" in piece:
            yield _TRANSACTION_TIMEOUT.sub(b"", piece, count=1)
            preamble = False
        else:
            yield piece
