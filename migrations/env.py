"""The Alembic environment for all projects, for those who type `alembic`. A push does not run it: the pipeline has its
own (see docs/design.md).

It works on the project that `version_locations` in pyproject.toml names. Another one for a single call:

    alembic -x project=NAME upgrade head

DATABASE_URL has to be a tenant's own: its login finds the right schema by itself.
"""

import os
from pathlib import Path

from alembic import context
from alembic.util import CommandError
from sqlalchemy import create_engine, event, text

from tenants.sandboxed import sqlscripts

here = Path(__file__).parent
project = context.get_x_argument(as_dictionary=True).get("project")
if project:
    folder = here / project
    if not folder.is_dir():
        raise CommandError(f"there is no project {project} in {here}")
    # The map of revisions is made when it is first asked for, which is after this file has run.
    context.script.version_locations = [str(folder)]
    context.script.__dict__.pop("_version_locations", None)

sqlscripts.add(context.script)

url = os.environ.get("DATABASE_URL", "").replace("postgres://", "postgresql://", 1)
url = url.replace("postgresql://", "postgresql+psycopg://", 1)

options = context.config.cmd_opts
command = options.cmd[0].__name__ if options else "upgrade"
needs_database = (
    command not in ("revision", "history", "show")
    or getattr(options, "autogenerate", False)
    or getattr(options, "indicate_current", False)
)

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif not needs_database:
    context.configure(dialect_name="postgresql", as_sql=True)
    context.run_migrations()
else:
    if not url:
        raise CommandError("DATABASE_URL is not set; a tenant's own comes from: tenants create NAME")
    engine = create_engine(url)
    event.listen(engine, "do_execute_no_params", sqlscripts.copy)
    with engine.connect() as connection:
        query = "SELECT current_schema(), rolsuper FROM pg_roles WHERE rolname = current_user"
        schema, superuser = connection.execute(text(query)).one()
        connection.rollback()
        if superuser or schema in (None, "public"):
            raise CommandError(
                "DATABASE_URL is not a tenant's own; with the admin's URL: tenants deploy. "
                "A tenant's own comes from: tenants create NAME, or tenants login NAME"
            )
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
