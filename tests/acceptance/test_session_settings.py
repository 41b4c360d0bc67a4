"""What a server, a database or a role has set otherwise than PostgreSQL does changes no command and no comparison."""

from __future__ import annotations

import pytest
from support import Place

SETTINGS = (
    "TimeZone = 'Europe/Berlin'",
    "bytea_output = 'escape'",
    "DateStyle = 'German'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "extra_float_digits = -3",
    "quote_all_identifiers = on",
    "standard_conforming_strings = off",
    "default_transaction_read_only = on",
    "idle_session_timeout = '900ms'",
)
VALUES = """
    op.execute('''
        CREATE TABLE kinds (at timestamptz, day date, span interval, bytes bytea, real float8, words text, name text);
        INSERT INTO kinds VALUES ('2020-01-01 00:00+00', '2020-02-01', '1 mon 2 days 03:04:05', decode('00ff5c', 'hex'),
                                  0.1::float8 + 0.2, 'a' || chr(92) || 'b', 'x');
        CREATE VIEW seen AS SELECT name FROM kinds
    ''')
"""


@pytest.mark.every_server
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_database_changes_nothing(place: Place, setting: str) -> None:
    place.database.sql(f'ALTER DATABASE "db.main" SET {setting}')
    place.revision("fruits", "0001", VALUES)
    done = place.tenants("deploy", TENANTS_REHEARSAL="on")
    assert done.code == 0, done.said
    id_ = place.snapshot()
    drilled = place.tenants("drill")
    assert drilled.code == 0 and "all as they were" in drilled.err, drilled.said
    place.revision("fruits", "0002", 'op.add_column("kinds", sa.Column("more", sa.Text))', "0001", "more")
    done = place.tenants("deploy", TENANTS_REHEARSAL="on")
    assert done.code == 0, done.said
    for words in (["restore", "fruits", id_], ["status"], ["log", "fruits"], ["apply"], ["nightly"]):
        done = place.tenants(*words)
        assert done.code == 0, done.said
    audit = place.tenants("audit", "fruits")
    assert audit.code == 0, audit.said
    query = "SELECT at = '2020-01-01 00:00+00'::timestamptz, encode(bytes, 'hex'), length(words) FROM fruits.kinds"
    assert place.database.sql(query) == [(True, "00ff5c", 3)]


def test_snapshots_of_two_databases_with_other_settings_are_the_same(place: Place) -> None:
    """What has not changed needs no second archive, whatever was set meanwhile."""
    place.revision("fruits", "0001", VALUES)
    place.deployed()
    place.snapshot()
    for setting in SETTINGS[:6]:
        place.database.sql(f'ALTER DATABASE "db.main" SET {setting}')
    place.snapshot()
    assert len(list(place.store.rglob("*.zst"))) == 1


@pytest.mark.every_server
def test_a_range_type_is_no_finding(place: Place) -> None:
    place.revision("fruits", "0001", 'op.execute("CREATE TYPE span AS RANGE (subtype = int)")')
    place.deployed()
    done = place.tenants("audit", "fruits")
    assert done.code == 0, done.said
