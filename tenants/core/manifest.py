"""The manifest of a snapshot: what it is, where its archive lies, and what proves it.

In storage, below the prefix of TENANTS_STORE:

    <server>/<tenant>/<id>.dump.zst    pg_dump's custom archive, through zstd
    <server>/<tenant>/<id>.dump.zst.age   the same, encrypted for age's recipients
    <server>/<tenant>/<id>.json        the manifest; written last, and only if there is none: without it, no snapshot
    <server>/<tenant>/<id>.ledger      the signed list of the tenant's snapshots (`tenants.core.ledger`)

A snapshot of a tenant that has not changed since an earlier one has no archive of its own: its manifest names that one.

`<server>` is a name that the catalog made up for itself, so that two servers on one bucket never meet.

The catalog says which snapshots there are, and knows the digest of each manifest (`tenants.edges.shelf`). A manifest
is checked like any other input all the same: where its archive lies is derived from the place where the manifest itself
was found, never taken from its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from tenants.core.contents import Contents, rows_of
from tenants.core.errors import SnapshotError
from tenants.core.names import MAX_LENGTH

FORMAT = 1
MAX_BYTES = 8 << 20
"""Bytes of a manifest at most: some 40,000 tables. A larger object is none."""
MAX_BYTES_OF_A_TENANT = 1 << 20
"""The same, of one that a tenant wrote with its own URL: a list of snapshots reads all of them."""
ARCHIVE, SEALED = ".dump.zst", ".dump.zst.age"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-z]{6}")
_SERVER = re.compile(r"[0-9a-z]{12}")


@dataclass(frozen=True)
class Manifest:
    id: str
    server: str
    tenant: str
    project: str
    created_at: datetime
    verified_at: datetime
    """When the archive had been read back from storage and matched `sha256`."""
    reason: str
    """deploy, nightly, manual, restore, undo, drop or adopt."""
    heads: tuple[str, ...]
    git_rev: str | None
    database: str
    server_version: str
    client_version: str
    tool_version: str
    size: int
    """Bytes of the archive as stored."""
    sha256: str
    """Of the archive as stored."""
    raw_size: int
    """Bytes of the archive before compression."""
    grantees: tuple[str, ...] = ()
    """Roles other than the owner that the archive grants something to: they must exist when it is restored."""
    archive: str | None = None
    """The id of the snapshot of this tenant whose archive this is, too; None if it has one of its own."""
    content_sha256: str | None = None
    """Of the SQL that pg_restore makes of the archive (`tenants.core.contents.Tally.digest`): the same for the same
    content. None where the archive is encrypted, and those of the tables are empty: a bucket that cannot read the rows
    must not be able to guess at them either."""
    tables: Mapping[str, Contents] = field(default_factory=dict)
    """What pg_restore has found in the archive, by quoted name."""
    limits: Mapping[str, str | int] = field(default_factory=dict)
    """Those of the tenant, as `tenants create` takes them."""
    app_role: bool = False
    extensions: tuple[str, ...] = ()
    """Those that tenants may use on that server."""
    schema: str | None = None
    """The schema that the archive holds, where that is not the tenant's own: what was there before an adoption."""
    recipients: tuple[str, ...] = ()
    """age's public keys that the archive is encrypted for; none: it is not."""
    settled: bool = False
    """Whether the session that dumped it had fixed settings (`session.DUMPING`), so that its text is the same on each
    server."""

    @property
    def key(self) -> str:
        """Where its archive lies."""
        return archive_key(self.server, self.tenant, self.archive or self.id, SEALED if self.recipients else ARCHIVE)

    @property
    def rows(self) -> int:
        """In all tables."""
        return rows_of(self.tables)

    @property
    def revision(self) -> str | None:
        return "+".join(self.heads) or None

    def to_json(self) -> bytes:
        document: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        for moment in ("created_at", "verified_at"):
            document[moment] = rfc3339(document[moment])
        return json.dumps(document, indent=2, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, server: str, tenant: str, id: str) -> Manifest:  # noqa: A002
        """Read the manifest found at the place of `server`, `tenant` and `id`. Raises SnapshotError if it lies."""
        try:
            document = json.loads(data)
            if document.pop("format") != FORMAT:
                raise SnapshotError(
                    f"snapshot {id} of {tenant} is of a format that this version does not know",
                    next="update dokku-tenants",
                )
            known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
            for moment in ("created_at", "verified_at"):
                known[moment] = datetime.fromisoformat(known[moment]).astimezone(UTC)
            known = {"grantees": [], "extensions": [], "recipients": [], **known}
            for texts in ("heads", "grantees", "extensions", "recipients"):
                if not isinstance(known[texts], list):
                    raise ValueError(texts)
                known[texts] = tuple(known[texts])
            known["tables"] = {name: Contents(**found) for name, found in known.get("tables", {}).items()}
            manifest = cls(**known)
            manifest._check_types()
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise SnapshotError(
                f"the manifest of snapshot {id} of {tenant} is damaged", next=f"another one: tenants snapshots {tenant}"
            ) from None
        if (manifest.server, manifest.tenant, manifest.id) != (server, tenant, id):
            raise SnapshotError(
                f"the manifest of snapshot {id} of {tenant} is that of another snapshot",
                next=f"another one: tenants snapshots {tenant}",
            )
        return manifest

    def _check_types(self) -> None:
        contents = self.tables.values()
        texts = (self.project, self.reason, self.database, self.server_version, self.client_version, self.tool_version)
        digests = [self.sha256]
        within = [found.sha256 for found in contents]
        if not self.recipients or any(within):
            digests += within
        counts = (self.size, self.raw_size, *(count for found in contents for count in (found.rows, found.bytes)))
        names = (*texts, *self.grantees, *self.extensions, *self.limits)
        if not (
            all(isinstance(text, str) and len(text.encode()) < 200 for text in names)
            and all(isinstance(name, str) and len(name.encode()) < 300 for name in (*self.heads, *self.tables))
            and all(isinstance(key, str) and len(key) < 2000 for key in self.recipients)
            and all(type(value) in (str, int) and len(str(value)) < 40 for value in self.limits.values())
            and type(self.app_role) is bool
            and type(self.settled) is bool
            and (self.archive is None or is_id(self.archive))
            and (self.content_sha256 is None or re.fullmatch(r"[0-9a-f]{64}", self.content_sha256))
            and (self.schema is None or (isinstance(self.schema, str) and len(self.schema.encode()) < 64))
            and (self.git_rev is None or re.fullmatch(r"[0-9a-f]{7,64}", self.git_rev))
            and all(isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)
            and all(type(count) is int and 0 <= count < 1 << 63 for count in counts)
        ):
            raise ValueError


def new_id(moment: datetime, token: str) -> str:
    """An id that sorts by time: 20261123T064714Z-k3f9ab. The first three letters are the fraction of the second, in
    base 36; the other three are the token's, so that no two ids are the same."""
    fraction, letters = moment.microsecond * 36**3 // 10**6, ""
    for _ in range(3):
        fraction, digit = divmod(fraction, 36)
        letters = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + letters
    return f"{stamp(moment)}-{letters}{token[:3]}"


def stamp(moment: datetime) -> str:
    """What ids of that second begin with."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def is_id(text: str) -> bool:
    """Of that form, and with a date that there is."""
    if not _ID.fullmatch(text):
        return False
    try:
        datetime.strptime(text[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def is_server(text: str) -> bool:
    return bool(_SERVER.fullmatch(text))


def archive_key(server: str, tenant: str, id: str, suffix: str = ARCHIVE) -> str:  # noqa: A002
    return f"{server}/{tenant}/{id}{suffix}"


def manifest_key(server: str, tenant: str, id: str) -> str:  # noqa: A002
    return f"{server}/{tenant}/{id}.json"


def proof_key(server: str, tenant: str, id: str) -> str:  # noqa: A002
    """Where earlier versions wrote what a drill had found. Nothing reads it: anybody could write it."""
    return f"{server}/{tenant}/{id}.proof"


def tenant_prefix(server: str, tenant: str) -> str:
    return f"{server}/{tenant}/"


def id_of_key(key: str) -> str | None:
    """The snapshot's id if `key` is a manifest's."""
    name = key.rpartition("/")[2]
    return name.removesuffix(".json") if name.endswith(".json") and is_id(name.removesuffix(".json")) else None


def rfc3339(moment: datetime) -> str:
    """2026-11-23T06:47:14Z"""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


assert len(f"{'x' * MAX_LENGTH}~before~20261123T064714") <= 63
