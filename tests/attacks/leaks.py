"""What any shared PostgreSQL shows to every login. Each is a query that the attacker asks about its neighbour, and has
to be answered: the page says so as long as it is so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Leak:
    what: str
    query: str
    """Yields true where it can be seen."""


LEAKS = (
    Leak("names of databases and of roles", "SELECT count(*) = 2 FROM pg_roles WHERE rolname IN ('apples', 'fruits')"),
    Leak(
        "settings and memberships of roles",
        "SELECT bool_or(setconfig::text LIKE '%search_path=apples%') FROM pg_db_role_setting",
    ),
    Leak(
        "names of schemas, tables, columns, types and values of enumerations",
        "SELECT (SELECT count(*) FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relname = 'seen'))"
        " > 0 AND EXISTS (SELECT FROM pg_enum WHERE enumlabel = 'red')",
    ),
    Leak("comments", "SELECT count(*) > 0 FROM pg_description WHERE description = 'told in a comment'"),
    Leak(
        "the source of functions, and what is written in it",
        "SELECT prosrc LIKE '%apples.items%' FROM pg_proc WHERE proname = 'secret'",
    ),
    Leak(
        "definitions of views, defaults, checks, policies and indexes, and constants in them",
        "SELECT pg_get_viewdef(oid) LIKE '%items%' FROM pg_class WHERE relname = 'seen'",
    ),
    Leak(
        "sizes, and how many rows a table has and how often it is read and written",
        "SELECT pg_relation_size(c.oid) > 0 AND n_tup_ins > 0 FROM pg_class c JOIN pg_stat_all_tables s"
        " ON s.relid = c.oid WHERE s.schemaname = 'apples' AND s.relname = 'items'",
    ),
    Leak(
        "who is connected, and under which application name; not what it asks, nor from where",
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename LIKE 'apples~%'"
        " AND query = '<insufficient privilege>'",
    ),
    Leak("locks, and the names of prepared transactions", "SELECT gid = 'theirs' FROM pg_prepared_xacts"),
    Leak("settings of the server", "SELECT current_setting('max_connections')::int > 0"),
)
"""And NOTIFY: its channels are of the whole database, which the test of it shows with two sessions."""
