"""The texts of files that `init` writes."""

from tenants import __version__

PROCFILE = "agent: tenants agent\n"

DOCKERFILE = f"""\
# The control app: every push migrates what is in migrations/.
FROM python:3.13-slim

# PostgreSQL's current client programs, from its own packages: pg_dump must not be older than the server.
ARG POSTGRES=18
RUN apt-get update \\
 && apt-get install -y --no-install-recommends postgresql-common ca-certificates \\
 && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \\
 && apt-get install -y --no-install-recommends "postgresql-client-${{POSTGRES}}" \\
 && rm -rf /var/lib/apt/lists/*

# The command runs as root, and gives each run of project code a uid of its own that owns nothing. Do not add USER.
WORKDIR /app
ARG TENANTS={__version__}
RUN pip install --no-cache-dir "dokku-tenants[age,lint,notify]==${{TENANTS}}"
COPY . .

CMD ["tenants", "agent"]
"""

MIGRATIONS = """\
# Migrations

A folder for each project, named as its Dokku app: `fruits/0001_items.sql`, `fruits/0002_add_colour.sql` and so on.

    tenants revision -m "items" fruits

writes the next one. A push runs what is pending, and makes a schema for a folder that is new.
"""

FIRST = """\
-- migrate:up
-- CREATE TABLE items (name text PRIMARY KEY);

-- migrate:down
-- DROP TABLE items;
"""
