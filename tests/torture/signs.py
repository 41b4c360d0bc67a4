"""Signs, by which to tell from outside how far a command has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """By which to tell from outside that a command has come to a point: a stage on standard error, a query that says
    true, or one more file in the store whose name ends so."""

    name: str
    line: str = ""
    query: str = ""
    stored: str = ""


def line(stage: str) -> Sign:
    return Sign(f"the line {stage!r}", line=stage)


def _session(name: str, application: str, where: str = "true") -> Sign:
    query = f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '{application}' AND {where})"
    return Sign(name, query=query)


_THERE, _COPY = "datname = 'db.main'", "datname ~ '~scratch~'"
DEPLOY_ROLE = Sign("a deploy role is there", query="SELECT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '~deploy~')")
SCRATCH_ROLE = Sign("a scratch role is there", query="SELECT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '~scratch~')")
SCRATCH = Sign(
    "a scratch database is there", query="SELECT EXISTS (SELECT FROM pg_database WHERE datname ~ '~scratch~')"
)
DUMPS = _session("pg_dump reads", "tenants pg_dump")
UPLOADS = Sign("an archive is on its way", stored=".partial")
ARCHIVED = Sign("an archive is stored", stored=".dump.zst")
KEPT = Sign("a manifest is stored", stored=".json")
COPIES = _session("a copy is made", "tenants psql", _COPY)
REHEARSES = _session("a revision runs on the copy", "tenants migrates fruits", _COPY)
MIGRATES = _session("a revision runs", "tenants migrates fruits", _THERE)
MIGRATED = Sign(
    "it is committed", query="SELECT EXISTS (SELECT FROM fruits.alembic_version WHERE version_num <> '0001')"
)
REPLAYS = _session("psql replays", "tenants psql", _THERE)
SWAPPED = Sign("a schema is set aside", query="SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname ~ '~before~')")
MADE = Sign("the schema is there", query="SELECT to_regnamespace('fruits') IS NOT NULL")
LET_IN = Sign("a login is there", query="SELECT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '^fruits~[a-z0-9]{6}$')")
SHUT_OUT = Sign(
    "the logins are shut out",
    query="SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolcanlogin AND rolname ~ '^fruits~[a-z0-9]{6}$')",
)
SCHEMA_GONE = Sign("the schema is gone", query="SELECT to_regnamespace('fruits') IS NULL")
