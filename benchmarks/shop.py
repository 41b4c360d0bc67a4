"""A shop: its tables, an app that lives on them, and the revisions that change them while it does.

No statement of the app names a column that a revision drops or renames, nor answers with one whose type changes: what
fails then is not the app's own fault.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

PAUSE = 0.08
"""Seconds after each round: four connections then do some 200 transactions a second."""
FIRST = "0001"
"""The revision that makes the tables."""

TABLES = """
CREATE TABLE settings (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE customers (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (
    id bigserial PRIMARY KEY, customer bigint NOT NULL, amount int NOT NULL, note text, legacy text,
    seen bigint NOT NULL DEFAULT 0, at timestamptz DEFAULT now());
ALTER TABLE orders ADD CONSTRAINT amount_known CHECK (amount >= 0) NOT VALID;
"""
FILL = """
DROP TABLE IF EXISTS settings, customers, orders, returns CASCADE;
{tables}
INSERT INTO settings SELECT 's' || n, md5(n::text) FROM generate_series(1, 20) n;
INSERT INTO customers (name) SELECT md5(n::text) FROM generate_series(1, {customers}) n;
INSERT INTO orders (customer, amount, note, legacy)
    SELECT 1 + n % {customers}, n % 1000, md5(n::text) || md5('a' || n) || md5('b' || n), 'old' || n % 7
    FROM generate_series(1, {rows}) n;
UPDATE alembic_version SET version_num = '{first}';
"""


@dataclass(frozen=True)
class Shop:
    """As many orders as `rows`, and a tenth of it customers."""

    url: str
    rows: int

    @property
    def customers(self) -> int:
        return max(1, self.rows // 10)

    def reset(self) -> None:
        """All is as the first revision left it, with rows, and nothing is left for autovacuum to do."""
        fill = FILL.format(tables=TABLES, customers=self.customers, rows=self.rows, first=FIRST)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(fill.encode())
            connection.execute("VACUUM ANALYZE settings, customers, orders")

    def round(self) -> Iterator[tuple[str, list[object]]]:
        order, customer = random.randint(1, self.rows), random.randint(1, self.customers)
        yield "SELECT value FROM settings WHERE name = %s", [f"s{order % 20 + 1}"]
        yield "SELECT note FROM orders WHERE id = %s", [order]
        yield "UPDATE orders SET seen = seen + 1 WHERE id = %s RETURNING id", [order]
        yield "INSERT INTO orders (customer, amount, note) VALUES (%s, 1, 'new') RETURNING id", [customer]
        yield "UPDATE customers SET name = name WHERE id = %s RETURNING name", [customer]


@dataclass(frozen=True)
class Kind:
    """Of revision."""

    name: str
    sql: str
    alone: bool = False
    """Whether it runs outside of the transaction."""

    @property
    def body(self) -> str:
        step = f"op.execute({self.sql!r})"
        return f"with op.get_context().autocommit_block():\n    {step}" if self.alone else step

    @property
    def slug(self) -> str:
        return "_".join("".join(c if c.isalnum() else " " for c in self.name).lower().split())


CATALOG_ONLY = (
    Kind("add a nullable column", "ALTER TABLE orders ADD COLUMN colour text"),
    Kind("add a column with a constant default", "ALTER TABLE orders ADD COLUMN colour text NOT NULL DEFAULT 'red'"),
    Kind("drop a column", "ALTER TABLE orders DROP COLUMN legacy"),
    Kind("rename a column", "ALTER TABLE orders RENAME COLUMN legacy TO former"),
    Kind("add a CHECK, NOT VALID", "ALTER TABLE orders ADD CONSTRAINT noted CHECK (note <> '') NOT VALID"),
    Kind(
        "add a foreign key, NOT VALID",
        "ALTER TABLE orders ADD CONSTRAINT known FOREIGN KEY (customer) REFERENCES customers NOT VALID",
    ),
    Kind("create a table", "CREATE TABLE returns (id bigserial PRIMARY KEY, reason text NOT NULL)"),
    Kind("create an index on a small table", "CREATE INDEX settings_value ON settings (value)"),
)
REWRITE_OR_SCAN = (
    Kind("change a column's type", "ALTER TABLE orders ALTER COLUMN amount TYPE bigint"),
    Kind("SET NOT NULL", "ALTER TABLE orders ALTER COLUMN at SET NOT NULL"),
    Kind(
        "add a column with a volatile default",
        "ALTER TABLE orders ADD COLUMN code uuid NOT NULL DEFAULT gen_random_uuid()",
    ),
    Kind("CREATE INDEX", "CREATE INDEX orders_customer ON orders (customer)"),
    Kind("VALIDATE CONSTRAINT", "ALTER TABLE orders VALIDATE CONSTRAINT amount_known"),
    Kind("CREATE INDEX CONCURRENTLY", "CREATE INDEX CONCURRENTLY orders_customer ON orders (customer)", alone=True),
)
KINDS = (*CATALOG_ONLY, *REWRITE_OR_SCAN)
