"""Object storage: one small interface, with S3 and a folder behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from tenants.core.errors import SettingsError
from tenants.core.settings import Settings, StoreUrl


@dataclass(frozen=True)
class Object:
    key: str
    size: int
    modified: datetime


class Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Store(Protocol):
    """Keys are relative to the store's prefix. Every method raises StorageError with a message fit for a person."""

    def place(self, key: str) -> str:
        """Where the key is, as a person would look for it."""

    def writer(self, key: str) -> AbstractContextManager[Writer]:
        """Store a stream of unknown length. The object appears, whole, when the block is left without an exception;
        with one, nothing is left behind."""

    def read(self, key: str) -> Iterator[bytes]:
        """The object's content, in pieces."""

    def put_new(self, key: str, data: bytes) -> None:
        """Store a small object. Raises AlreadyThere if there is one of that key."""

    def objects(self, prefix: str) -> Iterator[Object]:
        """The objects whose keys begin with `prefix`, sorted by key. Unfinished ones are not among them."""

    def folders(self) -> list[str]:
        """The first parts of all keys."""

    def delete(self, key: str) -> None:
        """Remove the object; nothing if there is none."""

    def clock(self) -> datetime | None:
        """What time it is there; None where it has no clock of its own."""

    def abort_unfinished(self, prefix: str) -> int:
        """Drop the unfinished objects below `prefix`, those of runs that were killed. Returns how many there were."""


def open_store(settings: Settings) -> Store | None:
    """The store that TENANTS_STORE names; None if it names none."""
    return at(settings.store) if settings.store else None


def at(target: StoreUrl) -> Store:
    """The store of that place. It is not asked anything yet. A process keeps its own, and the connections with it."""
    variables = ((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _at(target, os.getpid(), *sorted(variables))


@lru_cache(maxsize=8)
def _at(target: StoreUrl, *_: object) -> Store:
    if target.scheme == "file":
        from tenants.edges.store.folder import Folder

        return Folder(target.prefix)
    from tenants.edges.store.s3 import S3

    return S3(target.bucket, target.prefix)


def require_store(settings: Settings) -> Store:
    """Raises SettingsError if there is none."""
    store = open_store(settings)
    if store is None:
        raise SettingsError(
            "TENANTS_STORE is not set: there is no place for snapshots",
            next="set TENANTS_STORE=s3://bucket/prefix (and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_ENDPOINT_URL_S3), or TENANTS_STORE=file:///folder",
        )
    return store
