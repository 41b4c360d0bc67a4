-- The catalog: which tenants there are, what was done to them, and where their snapshots are.
--
-- The admin owns all of it. Tenants reach their own rows alone, through row level security: a deploy with a tenant's
-- own URL reads its entry and writes its records. What a tenant writes here is its own word, and is treated as such.

CREATE SCHEMA tenants;

CREATE TABLE tenants.catalog (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    server  text NOT NULL  -- what this server and database are called in the bucket
);

CREATE TABLE tenants.tenants (
    name       text PRIMARY KEY,  -- of the tenant, of its schema and of the role that owns it
    project    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tenants.logins (
    role       text PRIMARY KEY,
    tenant     text NOT NULL REFERENCES tenants.tenants ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A plain list of revisions: tenants write their own records, and who reads them must not stumble.
CREATE DOMAIN tenants.texts AS text[] CHECK (
    coalesce(array_ndims(VALUE), 1) = 1 AND array_position(VALUE, NULL) IS NULL AND cardinality(VALUE) <= 10000
    AND length(array_to_string(VALUE, '')) <= 400000);

CREATE TABLE tenants.deploys (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant      text NOT NULL,
    project     text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('deploy', 'restore', 'drop')),
    from_heads  tenants.texts NOT NULL,
    to_heads    tenants.texts NOT NULL,
    applied     tenants.texts NOT NULL,
    git_rev     text CHECK (length(git_rev) <= 64),
    snapshot    text CHECK (length(snapshot) <= 64),
    outcome     text NOT NULL CHECK (outcome IN ('migrated', 'failed', 'restored', 'dropped')),
    error       text CHECK (length(error) <= 2000),
    stages      jsonb NOT NULL CHECK (length(stages::text) <= 2000),  -- seconds for each
    recorded_at timestamptz NOT NULL DEFAULT now(),
    live_at     timestamptz      -- when the release that came with it was serving
        CHECK (live_at BETWEEN '2000-01-01' AND '2200-01-01')
);
CREATE INDEX ON tenants.deploys (tenant, recorded_at DESC);

CREATE TABLE tenants.snapshots (
    id          text NOT NULL CHECK (length(id) <= 64),
    tenant      text NOT NULL,
    created_at  timestamptz NOT NULL CHECK (created_at BETWEEN '2000-01-01' AND '2200-01-01'),
    revision    text CHECK (length(revision) <= 5000),
    bytes       bigint NOT NULL CHECK (bytes >= 0),
    sha256      text NOT NULL CHECK (length(sha256) = 64),
    verified_at timestamptz NOT NULL CHECK (verified_at BETWEEN '2000-01-01' AND '2200-01-01'),
    PRIMARY KEY (tenant, id)
);

CREATE TABLE tenants.nightly_runs (
    period      timestamptz PRIMARY KEY,  -- the scheduled time that it was for
    finished_at timestamptz NOT NULL DEFAULT now()
);

-- A restore in progress: which session may have which schema set aside, once.
CREATE TABLE tenants.swaps (
    role   text PRIMARY KEY,
    tenant text NOT NULL,
    aside  text NOT NULL
);

-- Sets the schema of the restore in progress aside and makes an empty one in its place. The session that replays a
-- snapshot has no right to do so itself, so that nothing that the replay sets off has it either. It names no schema:
-- which one it may be is in a row that only the admin writes, found by a session's login, which no session can change.
CREATE FUNCTION tenants.set_aside() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    swap tenants.swaps;
BEGIN
    DELETE FROM tenants.swaps WHERE role = session_user RETURNING * INTO swap;
    IF swap.tenant IS NULL THEN
        RAISE EXCEPTION 'no restore is in progress for %', session_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = swap.tenant) THEN
        EXECUTE format('ALTER SCHEMA %I RENAME TO %I', swap.tenant, swap.aside);
    END IF;
    EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', swap.tenant, swap.tenant);
END
$$;
REVOKE ALL ON FUNCTION tenants.set_aside() FROM PUBLIC;

ALTER TABLE tenants.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants.deploys ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants.snapshots ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants.tenants USING (name = current_user::text);
CREATE POLICY own ON tenants.deploys USING (tenant = current_user::text);
CREATE POLICY own ON tenants.snapshots USING (tenant = current_user::text);

GRANT USAGE ON SCHEMA tenants TO "tenants~members";
GRANT SELECT ON tenants.catalog, tenants.tenants, tenants.deploys, tenants.snapshots TO "tenants~members";
GRANT INSERT ON tenants.snapshots TO "tenants~members";
GRANT INSERT (tenant, project, kind, from_heads, to_heads, applied, git_rev, snapshot, outcome, error, stages)
    ON tenants.deploys TO "tenants~members";
GRANT UPDATE (live_at) ON tenants.deploys TO "tenants~members";
GRANT EXECUTE ON FUNCTION tenants.set_aside() TO "tenants~members";
