"""Writes docs/security.md from the attacks: `make docs`, or `python tests/attacks/page.py`. A test compares."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from attacks import archives, bounded, leaks, readers, revisions, schemas, statements, thefts  # noqa: E402
from attacks.model import EVERY, WAYS, Attack, Group  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
GROUPS: tuple[Group, ...] = (
    *statements.GROUPS,
    *revisions.GROUPS,
    *thefts.GROUPS,
    *schemas.GROUPS,
    *readers.GROUPS,
    *archives.GROUPS,
)

BEGINNING = """\
# What a tenant can and cannot do to the others

This page is written by the attack suite (`make docs`), and a test compares the two: each row is an attack that the
tests try, on PostgreSQL 15 and 18 where it is about PostgreSQL, and see fail for the reason that is given. There are
{count} of them, and with the ways in which each is tried {tried}.

## Who attacks, and as whom

The attacker is a tenant: an app that was broken into, a dependency of it, or the author of a migration. It knows this
program's source and has all of its tenant's secrets. It does not have the admin's URL, nor a shell on the server. Its
neighbour, any other tenant, has done nothing wrong. These are the ways in which it acts:

{ways}

Each statement is said as the session begins and again after `RESET ROLE`, `SET ROLE NONE`, `SET SESSION AUTHORIZATION
DEFAULT`, `RESET ALL` and, outside of a transaction, `DISCARD ALL`: what a session was given can be shed. After each way
a digest is compared of all that is not the attacker's: rows, definitions and grants of the neighbour, roles and their
settings, databases, extensions, servers, slots, large objects, the server's files.

## What keeps what

- **PostgreSQL's privileges** keep tenants apart. A login owns nothing, is a member of its own tenant alone, and does
  not inherit (`NOINHERIT`); nothing is granted to PUBLIC. The audit's rules say so of every role, every night.
- **The deploy role** is what a revision acts through: a login that is made for one deploy, and removed.
- **The sandbox** keeps Python of a revision from the admin's URL and the storage's credentials: a uid for each run, a
  seccomp filter, limits, and Landlock.
- **A pinned search_path and COPY that plans nothing** keep what a tenant planted from running as the admin.
- **Functions of the catalog** are the only way in which a tenant writes there: they check, bound, date and count.
- **Limits of a login** bound what it can use; those that a session can lift are for accidents, not against an attacker.
- **Reading back** makes what happened a matter of what the database and the bucket hold, not of what a revision says.

The outcome is one of three. *Denied*: it is refused. *Harmless*: it runs, and reaches nothing beyond the attacker's own
tenant. *Bounded*: any shared server is open to it, and the end of this page says what ends it.

## How project code is confined

`tenants doctor` says which of the two kinds of sandbox this machine has.

The **strong** sandbox is that of the control app's image and of the plugin's, and of every machine where the command
runs as root: each run of project code, and of pg_dump, pg_restore and psql, has a uid that no other process has, a
seccomp filter, limits of memory, files and processes, and a Landlock domain where the kernel has Landlock. Without
Landlock (before Linux 5.13) it can read the files that every user may read.

The **weak** sandbox is that of a plain user, who cannot hand a program to another uid: the filter, the limits and
Landlock alone. It keeps passwords, files outside of the project and unix sockets out of reach. It cannot keep a program
from changing mode (but not setuid or setgid), times and attributes of files that belong to the same user, from sending
signals to that user's processes on kernels before 6.12, nor from using as many processes as that user may have. With
the admin's URL the command runs project code in it only with `TENANTS_SANDBOX=weak`. An app that deploys with its own
URL, in its own image or with the buildpack, has nothing there that is not the app's.
"""

LEAKS = """\
## What any shared PostgreSQL leaks

PostgreSQL hides rows, not names. Every login of the server can see the following, and the tests prove that it can, so
that this list stays honest:

{leaks}
- **what is sent by NOTIFY**: channels are of the whole database. A neighbour that knows or guesses a channel's name
  hears what is sent there, and can send there itself. Send ids, not data, and take what arrives for a hint.

So write no secret into a comment, a default, a function or an application name; and who must not even be known to exist
needs a server of its own.
"""

NEIGHBOUR = """\
## What a neighbour can still do, and how you end it

One server has one processor, one disk, one table of locks. `tenants audit` names who takes more than a share, and
`tenants suspend` ends it: the tenant's way into the database is closed first, which it cannot hold up; then its
sessions end and what it has prepared is rolled back. Its data stays, and `tenants resume` lets it in again. Below,
`fruits` is the neighbour.

| attack | what bounds it | rule of the audit | what ends it |
|---|---|---|---|
{rows}

What this does not cover: a deploy stops at the first tenant whose migration fails, so one that fails on purpose keeps
those after it in the alphabet waiting until it is suspended; and memory (`work_mem` is any session's to set) is only
bounded by the container's own limit.

## While an adoption is not finished

An app that has been adopted and still has its old URL is superuser, and goes through views to tables that its tenant
owns: a trigger or a view that the tenant's own login puts there runs as that superuser. It is the app's own code on
both sides, but whoever has stolen the tenant's login has the server until then. So give the app its URL soon, and
finish: `tenants adopt NAME --finish`. The audit names what has stood for a week (`bridge`).
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _ways(attack: Attack) -> str:
    return "all but bucket" if set(EVERY) == set(attack.ways) else ", ".join(attack.ways)


def _table(group: Group) -> str:
    rows = "\n".join(f"| {_cell(a.title)} | {_ways(a)} | {a.outcome} | {_cell(a.kept_by)} |" for a in group.attacks)
    return f"### {group.name}\n\n| attack | tried by | outcome | what keeps it |\n|---|---|---|---|\n{rows}\n"


def attacks() -> list[Attack]:
    return [attack for group in (*GROUPS, *bounded.GROUPS) for attack in group.attacks]


def page() -> str:
    every = attacks()
    ways = "\n".join(f"- **{way}**: {what}" for way, what in WAYS.items())
    beginning = BEGINNING.format(count=len(every), tried=sum(len(a.ways) for a in every), ways=ways)
    tally = Counter(attack.outcome for attack in every)
    told = ", ".join(f"{tally[outcome]} {outcome}" for outcome in ("denied", "harmless", "bounded"))
    rows = "\n".join(
        f"| {_cell(a.title)} | {_cell(a.kept_by)} | {f'`{a.rule}`' if a.rule else 'none needed'} | {a.ended_by} |"
        for group in bounded.GROUPS
        for a in group.attacks
    )
    return "\n".join(
        (
            beginning,
            f"## The attacks\n\n{told}.\n",
            *map(_table, GROUPS),
            LEAKS.format(leaks="\n".join(f"- {leak.what}" for leak in leaks.LEAKS)),
            NEIGHBOUR.format(rows=rows).rstrip(),
            "",
        )
    )


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
