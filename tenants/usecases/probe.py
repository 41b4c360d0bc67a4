"""Probe: what a store promises, tried with a small object that is removed again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from tenants.core import checkup
from tenants.core.checkup import Check, ok, warning, wrong
from tenants.core.errors import AlreadyThere, StorageError
from tenants.core.settings import StoreUrl
from tenants.edges import catalog, store
from tenants.edges.store import Store

_MARK = b"dokku-tenants wrote this to see whether it can; it may be removed"


def probe(target: StoreUrl) -> Iterator[Check]:
    """Writable, readable, keeps what is there, and lets go of it. Raises StorageError where it fails first."""
    there = store.at(target)
    key = f"doctor~{catalog.token(12)}"
    asked = datetime.now(UTC)
    clock = there.clock()
    answered = datetime.now(UTC)
    there.put_new(key, _MARK)
    try:
        if b"".join(there.read(key)) != _MARK:
            raise StorageError(f"{there.place(key)} is not what was written", next="the storage is not to be trusted")
        yield ok("store", f"{target} can be written and read")
        if target.scheme == "s3":
            time.sleep(1.1)  # R2 takes one write a second of one key
        yield _keeps(there, key)
    finally:
        gone = _removed(there, key)
    yield gone
    if clock is not None:
        yield checkup.clock("the store", clock, asked + (answered - asked) / 2)


def _keeps(there: Store, key: str) -> Check:
    try:
        there.put_new(key, _MARK + b".")
    except AlreadyThere:
        return ok("store", "it refuses to write over what is there")
    except StorageError as error:  # a lock rule, say
        return warning("store", f"whether it keeps what is there cannot be told: {error.message}", "try again later")
    return wrong(
        "store",
        "it writes over what is there, though it is asked not to: two runs at once could spoil a snapshot",
        "use a store that honours If-None-Match: Cloudflare R2, Amazon S3, MinIO, Garage, versitygw",
    )


def _removed(there: Store, key: str) -> Check:
    try:
        there.delete(key)
        if key in {found.key for found in there.objects(key)}:
            raise StorageError(f"{there.place(key)} is still there")
    except StorageError as error:
        return warning("store", f"what is written stays: {error.message}", "fine, if a lock rule is meant to keep it")
    return ok("store", "what is not kept can be removed")
