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
    "jit": "off",  # it takes longer to compile a look into the catalogs than to have it
}
