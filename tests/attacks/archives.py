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
)
