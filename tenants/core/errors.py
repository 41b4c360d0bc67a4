"""Every error that a person can meet, and the exit code each one carries.

    TenantsError                1  failed inside
    ├── UsageError              2  a command, a name or a setting that cannot work as given
    │   ├── BadName
    │   ├── UnknownName         2  there is none of that name, and one that is like it may be meant
    │   ├── SettingsError       2  an environment variable, named in the message
    │   └── Refused             2  something that is there is not ours, or not allowed this way
    │       └── WrongIdentity   2  an encrypted archive that the identity file at hand does not open
    ├── Pending                 3  `plan --check` found something pending, or the audit something wrong
    ├── Locked                  4  somebody else is at work on that tenant
    ├── SnapshotError           5  a snapshot could not be taken, proven or restored
    │   ├── NoSnapshot          5  there is none, or none of that id
    │   ├── ProgramError        5  pg_dump and its like: absent, too old, or failed
    │   └── StorageError        5  the bucket or folder
    │       └── AlreadyThere    5  a key that must be new exists
    └── MigrationError          6
        ├── HistoryError        6  the folder of revisions is not one line of revisions
        ├── StateError          6  the schema is not in a state that the folder can go on from
        │   └── Unreadable      6  where it is cannot be read now
        ├── RevisionFailed      6  a revision ran and failed
        ├── CommandFailed       6  the command of another tool did not end well
        └── Incompatible        6  the old release may not live with a revision, and the policy is to stop then

A message says what and where. `data` says what state the data is in, where that is in question; `next` is the one
command or step that comes next.
"""

from __future__ import annotations

LONGEST = 2000
"""Characters of a message. What a server or a program says can be as long as a tenant makes it: the names of 20,000
tables, say."""


def bounded(text: str) -> str:
    """The text, or its beginning and its end where it is too long for a person to read."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 500]} … ({len(text) - LONGEST + 100:,} characters left out) … {text[-400:]}"


class TenantsError(Exception):
    """The root: anything that stops a command for a reason that a person can act on."""

    exit_code = 1

    def __init__(self, message: str, *, next: str | None = None, data: str | None = None) -> None:  # noqa: A002
        message = bounded(message)
        super().__init__(message)
        self.message = message
        self.next = next
        self.data = data


class UsageError(TenantsError):
    exit_code = 2


class BadName(UsageError):
    pass


class UnknownName(UsageError):
    """`instead` is the name that is likest to the one that was typed; None if nothing is like it."""

    def __init__(self, message: str, name: str, instead: str | None, *, next: str) -> None:  # noqa: A002
        super().__init__(message, next=next)
        self.name = name
        self.instead = instead


class SettingsError(UsageError):
    pass


class Refused(UsageError):
    pass


class WrongIdentity(Refused):
    pass


class Pending(TenantsError):
    exit_code = 3


class Locked(TenantsError):
    exit_code = 4


class SnapshotError(TenantsError):
    exit_code = 5


class NoSnapshot(SnapshotError):
    pass


class ProgramError(SnapshotError):
    pass


class StorageError(SnapshotError):
    pass


class AlreadyThere(StorageError):
    pass


class MigrationError(TenantsError):
    exit_code = 6


class HistoryError(MigrationError):
    pass


class StateError(MigrationError):
    pass


class Unreadable(StateError):
    pass


class RevisionFailed(MigrationError):
    pass


class CommandFailed(MigrationError):
    pass


class Incompatible(MigrationError):
    pass
