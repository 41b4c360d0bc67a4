"""The Alembic environment that the pipeline uses. It takes its connection, and the guard of its transaction, from
whoever runs it; the `env.py` of a project is for people who type `alembic`, and is not run here."""

from alembic import context

from tenants.sandboxed import sqlscripts

config = context.config
connection = config.attributes.get("connection")
schema = config.attributes["schema"]
if not config.attributes["loaded"]:
    sqlscripts.add(context.script)

if connection is None:
    context.configure(dialect_name="postgresql", as_sql=True, literal_binds=True, version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()
else:
    guard = config.attributes["guard"]
    context.configure(
        connection=connection,
        version_table_schema=schema,
        transaction_per_migration=False,
        on_version_apply=guard.revision_applied,
    )
    guard.watch_blocks(context.get_context())
    with context.begin_transaction():
        context.run_migrations()
        guard.allow_commit()
