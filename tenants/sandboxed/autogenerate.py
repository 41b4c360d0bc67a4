"""Compares a project's models with the schema that its revisions have made: what the next revision would have to do.

The models are project code, and the session is the tenant's, which reads. What is not the models' own is left alone:
other schemas, version tables, and what a restore has put beside.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

Report = Callable[[dict[str, Any]], None]
_VERSIONS = {"alembic_version", "schema_migrations"}


class NoModels(Exception):
    """There are none where they ought to be."""


def load(models: str) -> MetaData:
    """The metadata that `package.module:Base.metadata` names, or has as its `metadata`. Raises NoModels, and whatever
    the module raises."""
    module, _, path = models.partition(":")
    found: Any = import_module(module)
    for name in path.split("."):
        if not hasattr(found, name):
            raise NoModels(f"{module} has no {path}")
        found = getattr(found, name)
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise NoModels(f"{models} is no MetaData of SQLAlchemy's, but {type(found).__name__!r}")
    return metadata


def compare(connection: Connection, metadata: MetaData, report: Report) -> None:
    """Report what a revision would have to do, as Python; nothing, if there is nothing."""
    foreign = {table.name: table.schema for table in metadata.tables.values() if table.schema is not None}
    notes = [f"table {schema}.{name} is passed over: its model names a schema" for name, schema in foreign.items()]

    def is_ours(thing: Any, name: str | None, kind: str, reflected: bool, _: Any) -> bool:
        if kind != "table":
            return True
        if not reflected:
            return thing.schema is None
        return name not in foreign and "~" not in str(name) and (name not in _VERSIONS or name in metadata.tables)

    context = MigrationContext.configure(
        connection, opts={"target_metadata": metadata, "include_object": is_ours, "compare_type": True}
    )
    script = produce_migrations(context, metadata)
    assert script.upgrade_ops is not None and script.downgrade_ops is not None
    notes += list(_losses(script.upgrade_ops))
    if script.upgrade_ops.is_empty():
        report({"event": "script", "upgrade": "", "downgrade": "", "imports": "", "notes": "\n".join(notes)})
        return
    imports = set[str]()

    def import_types(kind: str, thing: Any, _: Any) -> bool:
        module = type(thing).__module__
        if kind == "type" and module.partition(".")[0] not in ("sqlalchemy", "builtins"):
            imports.add(f"import {module}")
        return False

    def render(container: ops.UpgradeOps | ops.DowngradeOps) -> str:
        options: Any = {"render_item": import_types, "imports": imports, "migration_context": context}
        return render_python_code(container, **options)

    body = {"upgrade": render(script.upgrade_ops), "downgrade": render(script.downgrade_ops)}
    report({"event": "script", **body, "imports": "\n".join(sorted(imports)), "notes": "\n".join(notes)})


def _losses(container: ops.OpContainer) -> Any:
    """What would be gone, rows and all."""
    for op in container.ops:
        if isinstance(op, ops.OpContainer):
            yield from _losses(op)
        elif isinstance(op, ops.DropTableOp):
            yield f"it drops table {op.table_name}, which no model has"
        elif isinstance(op, ops.DropColumnOp):
            yield f"it drops column {op.table_name}.{op.column_name}, which no model has"
