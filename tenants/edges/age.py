"""Encryption with age (https://age-encryption.org/v1): public keys seal a stream, an identity file opens it. The one
module that knows pyrage."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Protocol

from tenants.core.errors import Refused, SettingsError, SnapshotError, StorageError, WrongIdentity
from tenants.core.settings import RECIPIENTS


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def check(recipients: Sequence[str]) -> list[Any]:
    """The public keys, as the library takes them. Raises SettingsError for one that is none."""
    age, found = _library(), []
    for text in recipients:
        try:
            kind = age.ssh if text.startswith("ssh-") else age.x25519
            found.append(kind.Recipient.from_str(text))
        except age.RecipientError:
            secret = text.upper().startswith("AGE-SECRET-KEY-")
            shown = "a secret key in it, which is to stay where restores are done" if secret else repr(text[:24])
            raise SettingsError(
                f"{RECIPIENTS} is to name public keys, and has {shown}",
                next="write age1… or ssh-ed25519 …, with commas between several",
            ) from None
    return found


@contextmanager
def sealing(recipients: Sequence[str], sink: Callable[[bytes], object]) -> Iterator[Callable[[bytes], object]]:
    """What is written to the function that this yields reaches `sink` encrypted; all of it when the block is left."""
    keys, problems = check(recipients), list[BaseException]()
    out, into = _pipe()

    def seal() -> None:
        with out:
            try:
                _library().encrypt_io(out, _Writer(sink, problems), keys)
            except BaseException as error:  # noqa: BLE001  # raised below, in the thread that asked
                problems.append(error)

    thread = threading.Thread(target=seal, daemon=True)
    thread.start()
    try:
        with suppress(BrokenPipeError), into:  # what broke it is among the problems
            yield into.write
    finally:
        thread.join()
        if problems:
            raise problems[0]


@contextmanager
def opening(source: Readable, identity: Path | None, what: str) -> Iterator[IO[bytes]]:
    """A file with what was sealed. Whoever reads it to its end has read what was sealed: age authenticates each piece.

    Raises WrongIdentity if no identity opens it, SnapshotError if it is damaged or breaks off.
    """
    keys, problems = _identities(identity, what), list[BaseException]()
    out, into = _pipe()

    def unseal() -> None:
        try:
            with into:
                _library().decrypt_io(_Reader(source, problems), _Writer(into.write, problems), keys)
        except BaseException as error:  # noqa: BLE001  # raised below, in the thread that asked
            problems.append(error)

    thread = threading.Thread(target=unseal, daemon=True)
    thread.start()
    try:
        with out:
            yield out
    finally:
        thread.join()
        if problems and not isinstance(problems[0], BrokenPipeError):  # which it is when nobody reads on
            raise _explained(problems[0], identity, what)


def _explained(problem: BaseException, identity: Path | None, what: str) -> BaseException:
    if "No matching keys" in str(problem):
        return WrongIdentity(
            f"{what} is encrypted, and {identity} does not open it",
            next="name the identity file of a key that it was encrypted for: --identity FILE",
        )
    if isinstance(problem, StorageError | KeyboardInterrupt):
        return problem
    return SnapshotError(f"{what} is damaged: age cannot open it")


def _identities(file: Path | None, what: str) -> list[Any]:
    """Those of an identity file, as `age-keygen` writes it, or the one of an SSH key. Raises Refused."""
    if file is None:
        raise Refused(f"{what} is encrypted", next="name the identity file that opens it: --identity FILE")
    age = _library()
    try:
        data = _content(file)
        if data.lstrip().startswith(b"-----BEGIN"):
            return [age.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        found = [age.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}", next="--identity FILE") from None
    except (age.IdentityError, UnicodeDecodeError):
        found = []
    if not found:
        raise Refused(f"{file} is no identity file of age", next="one has lines that begin with AGE-SECRET-KEY-1")
    return found


@cache
def _content(file: Path) -> bytes:
    """Read once: of standard input there is no second time."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def _library() -> ModuleType:
    try:
        import pyrage
    except ImportError:
        raise SettingsError(
            "encryption needs the extra 'age', which is not installed", next="pip install 'dokku-tenants[age]'"
        ) from None
    library: ModuleType = pyrage
    return library


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    out, into = os.pipe()
    return os.fdopen(out, "rb"), os.fdopen(into, "wb")


class _Writer:
    """Keeps what went wrong in writing, of which the library keeps only the words."""

    def __init__(self, write: Callable[[bytes], object], problems: list[BaseException]) -> None:
        self._write, self._problems = write, problems

    def write(self, data: bytes) -> int:
        try:
            self._write(bytes(data))
        except BaseException as error:
            self._problems.append(error)
            raise
        return len(data)

    def flush(self) -> None:
        pass


class _Reader:
    """The same for reading."""

    def __init__(self, source: Readable, problems: list[BaseException]) -> None:
        self._source, self._problems = source, problems

    def read(self, size: int = -1) -> bytes:
        try:
            return self._source.read(size)
        except BaseException as error:
            self._problems.append(error)
            raise
