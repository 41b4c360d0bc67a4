"""Archives that are forged by whoever can write into the bucket: whole in themselves, with a manifest that fits.

What stands for the comment of a table is the attack: it is put in its place in the archive, byte for byte."""

from __future__ import annotations

from attacks.model import Attack, Group

ROOM = 240
"""Characters of the comment in whose place the attack is put."""

_RESTRICT = "pg_restore begins with \\restrict, after which psql knows no command of its own"
_ROLE = "a restore replays in a session that has no right beyond the tenant"


def _row(id_: str, title: str, code: str, kept_by: str, expects: str = "backslash commands are restricted") -> Attack:
    return Attack("archive-" + id_, title, code, kept_by, "denied", ("bucket",), expects=(expects,))


_SHELF = "the catalog says what is a snapshot"
_LEDGER = "the ledger counts that the trusted key signed, and of those the one with the highest number"


def _put(id_: str, title: str, test: str, kept_by: str) -> Attack:
    """`test` is the one that tries it, in `tests/acceptance/test_hostile_bucket.py`."""
    return Attack("put-" + id_, title, test, kept_by, "denied", ("bucket",))


GROUPS = (
    Group(
        "Archives in the bucket",
        (
            _row("shell", "A command of psql that starts a shell", "';\n\\! touch {loot}\n--", _RESTRICT),
            _row("pipe", "A command of psql that writes to a program", "';\n\\o |touch {loot}\n--", _RESTRICT),
            _row("connect", "A command of psql that connects as the admin", "';\n\\connect - postgres\n--", _RESTRICT),
            _row("include", "A command of psql that reads a file", "';\n\\i /etc/passwd\n--", _RESTRICT),
            _row(
                "program",
                "COPY to a program",
                "'; COPY fruits.items TO PROGRAM 'touch {loot}'; --",
                _ROLE,
                "permission denied to COPY",
            ),
            _row(
                "drop",
                "SQL that commits, and drops a neighbour",
                "'; COMMIT; DROP SCHEMA apples CASCADE; --",
                _ROLE,
                "must be owner",
            ),
            _row(
                "superuser",
                "SQL that sheds the role and makes it superuser",
                "'; RESET ROLE; ALTER ROLE fruits SUPERUSER; --",
                _ROLE,
                "ERROR:",
            ),
            _row(
                "aside",
                "SQL that sets a schema aside a second time",
                "'; SELECT tenants.set_aside(); --",
                "tenants.set_aside does it once",
                "no restore is in progress",
            ),
        ),
    ),
    Group(
        "Lies about archives in the bucket",
        (
            _row(
                "bomb",
                "A gigabyte of zeros in a few kilobytes, whose manifest promises little",
                "raw_size = 10",
                "it is read up to the size that the manifest gives",
                "is damaged",
            ),
            _row(
                "bomb-that-is-told",
                "The same, with a manifest that tells it",
                "raw_size = 2**30",
                "it is a stream: memory does not grow with it",
                "cannot read snapshot",
            ),
            _row(
                "swapped",
                "A neighbour's archive in the place of one's own, to read its rows",
                "cp apples/ID.dump.zst fruits/ID.dump.zst",
                "it is replayed as the attacker, who may not write there",
                "could not be replayed",
            ),
            _row(
                "elsewhere",
                "A way out of one's own folder, in the id that is to be restored",
                "../apples/ID",
                "an id is digits and letters of one form, and no path",
                "is not the id of a snapshot",
            ),
        ),
    ),
    Group(
        "Objects that someone else puts into the bucket",
        (
            _put(
                "displace",
                "195 manifests dated in the future, to push true snapshots out of the retention policy",
                "test_manifests_dated_in_the_future_push_no_snapshot_out",
                _SHELF,
            ),
            _put(
                "forge",
                "A whole forged snapshot with a proof, one second ahead of the newest",
                "test_a_forged_snapshot_is_neither_listed_nor_proven_nor_restored",
                _SHELF,
            ),
            _put(
                "stand-in",
                "The same, to be named as the archive of the next snapshot",
                "test_an_archive_that_is_not_ours_does_for_no_snapshot",
                _SHELF,
            ),
            _put(
                "huge",
                "A manifest and a ledger of 600 megabytes, to exhaust memory",
                "test_a_manifest_of_600_megabytes_stops_no_night_and_no_recovery",
                "unknown objects are not read; what is read has a limit",
            ),
            _put(
                "other-key",
                "On a lost server, a ledger that the attacker's own key signed",
                "test_only_what_the_trusted_key_signed_comes_back",
                _LEDGER,
            ),
            _put(
                "replay",
                "On a lost server, an old ledger, a neighbor's ledger and manifests under other names",
                "test_ledgers_and_manifests_that_were_copied_swapped_or_are_old_change_nothing",
                _LEDGER,
            ),
            _put(
                "swap",
                "On a lost server, a manifest in the place of a true one",
                "test_a_manifest_that_is_another_one_than_the_ledger_lists_is_passed_over_and_said",
                _LEDGER,
            ),
            _put(
                "extension",
                "On a lost server without a ledger, extensions that give rights",
                "test_unsigned_snapshots_bring_no_extension_that_postgresql_does_not_trust",
                "of an unsigned manifest only extensions are made that PostgreSQL trusts",
            ),
        ),
    ),
)
