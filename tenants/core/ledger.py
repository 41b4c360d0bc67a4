"""The ledger: a signed list of a tenant's snapshots, for the day on which the server and its catalog are gone.

In storage it lies beside the snapshots, below the prefix of TENANTS_STORE:

    <server>/<tenant>/<id>.ledger      JSON: the statement, the public key, and an Ed25519 signature of the statement

While the server lives, its catalog says which snapshots exist, and no command reads a ledger. A new server has nothing
but storage. There the ledger tells the snapshots that the lost server took from objects that someone else put into the
bucket: a manifest counts only if a ledger lists its digest, under the key that the operator trusts. So a manifest that
is forged, dated anew, copied to another name or swapped with another one is not a snapshot.

Each ledger lists all snapshots of the tenant, has a number that only grows, and names the digest of the ledger before
it. One list replaces the next, so what was pruned needs no record of its own, and the ledger with the highest number
is the one that counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from tenants.core.errors import SnapshotError
from tenants.core.manifest import is_id, is_server, rfc3339, tenant_prefix

FORMAT = 1
SUFFIX = ".ledger"
MAX_BYTES = 4 << 20
"""Bytes of a ledger at most: some 8,000 snapshots. A larger object is none."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Listed:
    """One snapshot, as the catalog of its server knows it."""

    id: str
    manifest: str
    """SHA-256 of the manifest, as it lies in storage."""
    size: int
    """Bytes of the archive as stored."""
    sha256: str
    """Of the archive as stored."""
    revision: str | None
    proven_at: str | None
    """When a drill restored it (RFC 3339); None if no drill has."""
    by_tenant: bool = False
    """Whether the tenant took it with its own URL: what its manifest says is the tenant's word."""

    @property
    def created_at(self) -> datetime:
        """To the second: the id has it."""
        return datetime.strptime(self.id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ledger:
    """The snapshots of one tenant on one server, in the order in which they were taken."""

    server: str
    tenant: str
    number: int
    """Grows with each ledger of the tenant."""
    previous: str | None
    """SHA-256 of the ledger before this one; None for the first."""
    written_at: datetime
    snapshots: Sequence[Listed]

    def statement(self) -> str:
        """The text that is signed."""
        document = {"format": FORMAT, **asdict(self), "written_at": rfc3339(self.written_at)}
        document["snapshots"] = [asdict(one) for one in self.snapshots]
        return json.dumps(document, ensure_ascii=True, sort_keys=True)


@dataclass(frozen=True)
class Sealed:
    """A ledger that is not verified yet: a statement, and the key and signature that came with it."""

    statement: str
    key: bytes
    signature: bytes

    def to_json(self) -> bytes:
        document = {"statement": self.statement, "key": self.key.hex(), "signature": self.signature.hex()}
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Sealed:
        """Raises SnapshotError for anything else."""
        try:
            document = json.loads(data)
            statement, key, signature = document["statement"], document["key"], document["signature"]
            if not (isinstance(statement, str) and _DIGEST.fullmatch(key) and _SIGNATURE.fullmatch(signature)):
                raise ValueError
            return cls(statement, bytes.fromhex(key), bytes.fromhex(signature))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise SnapshotError("an object in storage is no ledger") from None


def read(statement: str, *, server: str, tenant: str) -> Ledger:
    """The ledger that was signed as one of that tenant on that server. Raises SnapshotError if it is another's."""
    try:
        document: Mapping[str, Any] = json.loads(statement)
        if document["format"] != FORMAT:
            raise SnapshotError(f"the ledger of {tenant} has a newer format", next="update dokku-tenants")
        snapshots = [Listed(**one) for one in document["snapshots"]]
        found = Ledger(
            server=document["server"],
            tenant=document["tenant"],
            number=document["number"],
            previous=document["previous"],
            written_at=datetime.fromisoformat(document["written_at"]),
            snapshots=snapshots,
        )
        sound = (found.server, found.tenant) == (server, tenant) and type(found.number) is int
        if not sound or not all(_is_sound(one) for one in snapshots):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SnapshotError(f"an object in storage is no ledger of {tenant}") from None
    return found


def _is_sound(one: Listed) -> bool:
    digests = all(isinstance(text, str) and _DIGEST.fullmatch(text) for text in (one.manifest, one.sha256))
    texts = all(text is None or isinstance(text, str) for text in (one.revision, one.proven_at))
    kinds = type(one.by_tenant) is bool and type(one.size) is int and 0 <= one.size < 1 << 63
    return digests and texts and kinds and is_id(one.id)


def fingerprint(public: bytes) -> str:
    """What a person keeps of a public key: 128 bits of its SHA-256, as 32 hexadecimal digits."""
    return hashlib.sha256(public).hexdigest()[:32]


def is_fingerprint(text: str) -> bool:
    return bool(_FINGERPRINT.fullmatch(text))


def key_of(server: str, tenant: str, id_: str) -> str:
    """Where the ledger lies."""
    assert is_server(server)
    return f"{tenant_prefix(server, tenant)}{id_}{SUFFIX}"


def is_ledger(key: str) -> bool:
    """Whether the object's key is a ledger's."""
    name = key.rpartition("/")[2]
    return name.endswith(SUFFIX) and is_id(name.removesuffix(SUFFIX))
