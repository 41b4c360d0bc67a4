# The control app: push this repository to Dokku, and every push migrates what is in migrations/.
FROM python:3.13-slim

# PostgreSQL's current client programs, from its own packages: pg_dump must not be older than the server.
ARG POSTGRES=18
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-common ca-certificates \
 && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
 && apt-get install -y --no-install-recommends "postgresql-client-${POSTGRES}" \
 && rm -rf /var/lib/apt/lists/*

# The command runs as root, and gives each run of project code a uid of its own that owns nothing. Do not add USER.
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY tenants tenants
RUN pip install --no-cache-dir '.[age,lint,notify]'
COPY . .

CMD ["tenants", "agent"]
