"""Archives that somebody has on disk: what pg_dump wrote, or a backup that dokku-postgres made."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import zstandard

from tenants.core.errors import UsageError

PIECE = 1 << 20
ARCHIVE, ZSTD, GZIP, AGE = b"PGDMP", b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"age-encryption.org/"


def pieces(path: Path) -> Iterator[bytes]:
    """The archive in the file: one of pg_dump's custom format, as it is, through zstd, or in a tar with gzip, as
    dokku-postgres stores its backups. Raises UsageError for anything else."""
    with ExitStack() as opened:
        try:
            source = _archive(path, opened)
            if source.peek(5)[:5] != ARCHIVE:  # type: ignore[attr-defined]
                raise _unknown(path)
            while piece := source.read(PIECE):
                yield piece
        except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
            raise UsageError(f"{path} is damaged: {error}", next="download it again") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}", next="name another file") from None


def _archive(path: Path, opened: ExitStack) -> IO[bytes]:

    file = opened.enter_context(path.open("rb"))
    head = file.peek(20)
    if head.startswith(ZSTD):
        reader = opened.enter_context(zstandard.ZstdDecompressor().stream_reader(file))
        return io.BufferedReader(cast("io.RawIOBase", reader))
    if head.startswith(GZIP):
        tar = opened.enter_context(tarfile.open(fileobj=file, mode="r|gz"))  # noqa: SIM115
        for member in tar:
            if member.isfile() and (found := tar.extractfile(member)):
                return found
    if head.startswith(AGE):
        raise UsageError(f"{path} is encrypted", next=f"open it first: age -d -i key.txt -o {path.stem} {path}")
    return file


def _unknown(path: Path) -> UsageError:
    return UsageError(
        f"{path} is no archive of pg_dump's custom format",
        next="make one: pg_dump --format=custom, or dokku postgres:export DB > FILE; a script of SQL is not taken,"
        " since psql would run commands that it may hold",
    )
