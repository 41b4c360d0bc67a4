-- The catalog is the authority for snapshots: storage holds bytes, and whoever can write there can write anything.

ALTER TABLE tenants.snapshots
    ADD COLUMN manifest text CHECK (length(manifest) = 64),  -- digest of the manifest; null: an earlier version took it
    ADD COLUMN server   text CHECK (length(server) = 12),    -- the server that took it, where that is a lost one
    ADD COLUMN store    text CHECK (length(store) <= 500),   -- where it is: an app may have a store of its own
    ADD COLUMN number   bigint;                              -- the order in which they were taken, whatever clocks said
UPDATE tenants.snapshots s SET number = o.number
FROM (SELECT tenant, id, row_number() OVER (ORDER BY created_at, id) AS number FROM tenants.snapshots) o
WHERE (o.tenant, o.id) = (s.tenant, s.id);
ALTER TABLE tenants.snapshots ALTER COLUMN number SET NOT NULL, ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('tenants.snapshots', 'number'), coalesce(max(number), 0) + 1, false)
FROM tenants.snapshots;
-- A proof is one of the archive, which several snapshots name.
UPDATE tenants.snapshots s SET proven_at = p.proven_at
FROM (SELECT tenant, sha256, max(proven_at) AS proven_at FROM tenants.snapshots GROUP BY 1, 2) p
WHERE (p.tenant, p.sha256) = (s.tenant, s.sha256);

-- The snapshot that is under way: its archive is in storage, its manifest may be. There is one for each tenant at most,
-- since it is taken under the tenant's lock. The next run completes it, or forgets it.
CREATE TABLE tenants.pending (
    tenant   text PRIMARY KEY,
    id       text NOT NULL CHECK (length(id) <= 64),
    manifest text NOT NULL CHECK (length(manifest) = 64),
    content  text CHECK (length(content) = 64),
    store    text NOT NULL CHECK (length(store) <= 500),
    by_tenant boolean NOT NULL DEFAULT false  -- whether the tenant takes it itself: then what is known of it is its word
);
ALTER TABLE tenants.pending ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants.pending USING (tenant = current_user::text AND by_tenant);
GRANT SELECT ON tenants.pending TO "tenants~members";

-- Keys that sign ledgers: this server's own, with its private half, and those of lost servers that the operator trusts.
-- The one secret in the catalog. Nobody but the owner of the catalog can read the table.
CREATE TABLE tenants.keys (
    fingerprint text PRIMARY KEY,
    public      bytea NOT NULL CHECK (length(public) = 32),
    private     bytea CHECK (length(private) = 32),
    added_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON tenants.keys ((true)) WHERE private IS NOT NULL;

-- The newest ledger of each tenant, and the objects in storage that are ledgers of ours.
CREATE TABLE tenants.ledgers (
    tenant  text PRIMARY KEY,
    number  bigint NOT NULL,
    digest  text NOT NULL,   -- of the object, which the next ledger names
    listed  text NOT NULL,   -- digest of what it lists, by which to tell whether it needs a new one
    objects text[] NOT NULL
);
