"""What every session of ours is like, whichever way it is opened: see `tenants.edges.postgres`."""

from __future__ import annotations

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60
"""No statement of our own takes longer: it reads catalogs or makes roles. Dumps and migrations have other limits."""

SETTINGS = {
    "search_path": "pg_catalog",
    "lock_timeout": "5s",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "client_min_messages": "warning",
    "client_encoding": "UTF8",
    # what a server, database or role may have set otherwise, and what is read here relies on
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "default_transaction_read_only": "off",
    "idle_session_timeout": "0",
    "jit": "off",  # it takes longer to compile a look into the catalogs than to have it
}

DUMPING = {"TimeZone": "UTC", "bytea_output": "hex", "quote_all_identifiers": "off", "idle_session_timeout": "0"}
"""What pg_dump leaves as the server, the database or the role has it, and what its text depends on: with these the same
rows are the same text on each server."""

REPLAYING = {"default_transaction_read_only": "off", "idle_session_timeout": "0"}
"""What psql needs to replay an archive. All else is as the tenant's own sessions have it: checks may depend on it."""
