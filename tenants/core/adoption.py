"""What is to be done to give existing tables a tenant. Decided here, from a graph of what needs what; a dry run shows
it, and `adopt` carries it out.

The graph's nodes are *things*: what can be moved to another schema by itself. A table's indexes, constraints, triggers
and owned sequences are parts of it and go along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tenants.core.names import EXTENSIONS_SCHEMA, quoted
from tenants.core.near import did_you_mean

VISIBLE = {"pg_catalog", "information_schema", EXTENSIONS_SCHEMA}
"""Schemas that a tenant may use besides its own."""

_TABLES = ("TABLE", "FOREIGN TABLE")
_BRIDGED = ("TABLE", "VIEW", "MATERIALIZED VIEW")
_SIGNED = ("ROUTINE", "OPERATOR")
"""Kinds whose identity names types: they go before those types do."""


@dataclass(frozen=True)
class Thing:
    """Something that lies in a schema, as the server described it. All texts but `name` and `schema` are quoted."""

    key: str
    kind: str
    """As ALTER calls it: TABLE, VIEW, ROUTINE, TYPE, …"""
    schema: str
    name: str
    identity: str
    rest: str
    """The identity less its schema."""
    owner: str
    extension: str | None = None
    obstacle: str | None = None
    """Why no tenant may have it."""
    secured: bool = False
    """Whether it is a table with row level security."""
    beyond: bool = False
    """Whether it belongs to a role whose rights the admin has not."""
    names_schema: bool = False
    """Whether it is a function whose text names its schema."""
    follows: bool = False
    """Whether it is a multirange that takes its owner from its range type, and no other."""
    grants: tuple[str, ...] = ()
    """On rows: "SELECT TO metabase"; those of superusers are left out."""

    def __str__(self) -> str:
        return f"{self.kind.lower().replace('routine', 'function')} {self.identity}"


@dataclass(frozen=True)
class Edge:
    """One thing needs another. What is no thing (an event trigger, a system view) has no key and is in words."""

    user: str | None
    used: str | None
    inherits: bool = False
    user_words: str = ""
    used_words: str = ""
    used_schema: str | None = None


@dataclass(frozen=True)
class Adoption:
    """What is to be done, in order, and what is in the way."""

    source: str
    target: str
    moves: tuple[Thing, ...]
    steps: tuple[str, ...]
    """Statements, as the admin runs them."""
    bridges: tuple[Thing, ...]
    """What gets a view of its name in its place."""
    problems: tuple[str, ...]
    """Why it cannot be done; empty if it can."""
    notes: tuple[str, ...]
    stamped: bool = False
    """Whether the steps make an alembic_version that was not there."""

    @property
    def tables(self) -> tuple[Thing, ...]:
        return tuple(thing for thing in self.moves if thing.kind == "TABLE")


def plan(
    source: str,
    target: str,
    things: Iterable[Thing],
    edges: Sequence[Edge],
    *,
    owner: str,
    tables: Sequence[str] = (),
    owners: Mapping[str, str] | None = None,
    bridge: bool = True,
) -> Adoption:
    """Plan to move the tables named, or everything, from one schema to another (or to leave them in it), and to give
    them to `owner`. With `owners`, by key, it is what they name that moves, and nothing else, each to its own.

    What the tables need and nothing else needs goes along: types, functions, sequences, partitions, and the views that
    read from nothing but them. What is in the way is told in `problems`, all of it; nothing is to be done then.
    """
    by_key = {thing.key: thing for thing in things}
    here = {k: t for k, t in by_key.items() if t.schema == source and not t.extension}
    names = [thing.name for thing in here.values() if thing.kind in _BRIDGED]
    problems = [
        f"there is no table {name} in schema {source}{did_you_mean(name, names)}"
        for name in tables
        if not _named(here.values(), name)
    ]
    chosen = {k for k, t in here.items() if t.name in tables and t.kind in (*_TABLES, "VIEW", "MATERIALIZED VIEW")}
    moving = {k for k, t in here.items() if (k in owners if owners is not None else not t.obstacle)}
    if tables:
        moving = _closure(chosen, here, edges)
    problems += [f"{by_key[k]} cannot be a tenant's: {by_key[k].obstacle}" for k in moving if by_key[k].obstacle]
    problems += [
        f"{by_key[k]} belongs to {by_key[k].owner}, which the admin is not" for k in moving if by_key[k].beyond
    ]
    if bridge and source != target:  # a view would show its rows to all who may look at it
        problems += [
            f"{by_key[k]} has row level security, and is granted to {by_key[k].grants[0].partition(' TO ')[2]}:"
            " no view can stand in its place"
            for k in moving
            if by_key[k].secured and by_key[k].grants
        ]
    problems += _crossings(moving, by_key, edges)
    if source != target:
        problems += _clashes(target, moving, by_key)
    moves = tuple(sorted((by_key[k] for k in moving), key=lambda t: (t.kind not in _SIGNED, t.kind, t.identity)))
    home, heirs = quoted(target), owners or {}
    steps = []
    for thing in moves:
        if source != target:
            steps.append(f"ALTER {thing.kind} {thing.identity} SET SCHEMA {home}")
        if not thing.follows:
            heir = heirs.get(thing.key, owner)
            steps.append(f"ALTER {thing.kind} {home}.{thing.rest} OWNER TO {quoted(heir)}")
    bridges = tuple(t for t in moves if t.kind in _BRIDGED) if bridge and source != target else ()
    for thing in bridges:
        steps.append(f"CREATE VIEW {thing.identity} AS SELECT * FROM {home}.{thing.rest}")  # noqa: S608
        steps += [f"GRANT {grant.replace(' TO ', f' ON {thing.identity} TO ', 1)}" for grant in thing.grants]
    notes = [] if tables else [f"{t} stays: {t.obstacle}" for t in here.values() if t.obstacle]
    notes += [f"{t} names schema {source} in its text, which will not find it" for t in moves if t.names_schema]
    notes += _limits_of(bridges)
    by_name = [str(t) for t in moves if t.kind in ("ROUTINE", "TYPE", "SEQUENCE")]
    if bridges and by_name:
        notes.append(f"the running app finds tables and views as before, but not, by their names: {', '.join(by_name)}")
    return Adoption(source, target, moves, tuple(steps), bridges, tuple(sorted(set(problems))), tuple(notes))


def _limits_of(bridges: Sequence[Thing]) -> list[str]:
    """What a view in the place of a table cannot do."""
    if not bridges:
        return []
    notes = [
        "through the views in their place these do not work: TRUNCATE, COPY … TO, ALTER TABLE,"
        " ON CONFLICT ON CONSTRAINT, GROUP BY a key alone, sequences by their names, xmin and ctid"
    ]
    roles = sorted({grant.partition(" TO ")[2] for thing in bridges for grant in thing.grants})
    if roles:
        notes.append(
            f"{', '.join(roles)} keep their rights on rows there, not on sequences or single columns;"
            " --undo does not bring grants back"
        )
    return notes


def _named(things: Iterable[Thing], name: str) -> bool:
    return any(t.name == name and t.kind in (*_TABLES, "VIEW", "MATERIALIZED VIEW") for t in things)


def _closure(chosen: set[str], here: Mapping[str, Thing], edges: Sequence[Edge]) -> set[str]:
    """The chosen tables, and what goes along with them."""
    needs: dict[str, set[str]] = {}
    for edge in edges:
        if edge.user and edge.used and edge.user in here and edge.used in here:
            needs.setdefault(edge.user, set()).add(edge.used)
    moving = set(chosen)
    while True:
        more = {used for key in moving for used in needs.get(key, ()) if here[used].kind not in _TABLES}
        more |= {
            k for k, used in needs.items() if here[k].kind not in _TABLES and used <= moving | more and used & moving
        }
        more |= {e.user for e in edges if e.inherits and e.used in moving and e.user and e.user in here}
        if more <= moving:
            return moving
        moving |= more


def _crossings(moving: set[str], by_key: Mapping[str, Thing], edges: Sequence[Edge]) -> list[str]:
    """What would be torn apart."""
    problems = []
    for edge in edges:
        if edge.user in moving and edge.used not in moving:
            thing, used = by_key[edge.user], by_key.get(edge.used or "")
            if (used.schema if used else edge.used_schema) in (*VISIBLE, None):
                continue
            if used and used.extension:
                problems.append(
                    f"{thing} uses extension {used.extension}, which lies in schema {used.schema}, where no tenant"
                    f" reaches it: ALTER EXTENSION {quoted(used.extension)} SET SCHEMA {EXTENSIONS_SCHEMA}"
                )
            else:
                problems.append(f"{thing} needs {used or edge.used_words}, which stays")
        elif edge.used in moving and edge.user not in moving:
            user = by_key.get(edge.user or "")
            problems.append(f"{user or edge.user_words}, which stays, needs {by_key[edge.used]}")
    return problems


def _clashes(target: str, moving: set[str], by_key: Mapping[str, Thing]) -> list[str]:
    """What is there already under the name. Tables, views and types share their names, functions have theirs."""

    def place(thing: Thing) -> tuple[str, str]:
        shared = thing.kind in (*_BRIDGED, "SEQUENCE", "FOREIGN TABLE", "TYPE")
        return ("relation", thing.name) if shared else (thing.kind, thing.rest)

    taken = {place(t): t for t in by_key.values() if t.schema == target}
    return [f"{taken[place(by_key[k])]} is there already" for k in moving if place(by_key[k]) in taken]
