-- Tenants that are suspended, and how much each may hold.

ALTER TABLE tenants.tenants
    ADD COLUMN suspended_at timestamptz,  -- since when its logins are shut out
    ADD COLUMN size         text NOT NULL DEFAULT '10GB';

-- When a drill restored the snapshot, or the one whose archive it names. Tenants write their snapshots, but no proofs.
ALTER TABLE tenants.snapshots
    ADD COLUMN proven_at timestamptz CHECK (proven_at BETWEEN '2000-01-01' AND '2200-01-01'),
    ADD COLUMN content   text CHECK (length(content) = 64);  -- digest of what is in it, which an encrypted one hides
REVOKE INSERT ON tenants.snapshots FROM "tenants~members";
GRANT INSERT (id, tenant, created_at, revision, bytes, sha256, verified_at, content)
    ON tenants.snapshots TO "tenants~members";

ALTER TABLE tenants.tenants
    ADD COLUMN adopted_as text;  -- the digest of all definitions in its schema, right after its last adoption

-- What a tenant has taken over from another schema: the way back, and the views that stand in its place there.
CREATE TABLE tenants.adopted (
    tenant     text NOT NULL REFERENCES tenants.tenants ON DELETE CASCADE,
    source     text NOT NULL,
    object     text NOT NULL,     -- catalog and oid: its identity changes when it moves
    kind       text NOT NULL,     -- TABLE, VIEW, ROUTINE, …
    rest       text NOT NULL,     -- its identity less the schema, as the server quotes it
    owner      text NOT NULL,     -- the former one
    bridge     boolean NOT NULL,  -- whether a view of its name stands in its place
    adopted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, kind, rest)
);

ALTER TABLE tenants.deploys
    DROP CONSTRAINT deploys_kind_check,
    DROP CONSTRAINT deploys_outcome_check,
    ADD CHECK (kind IN ('deploy', 'restore', 'drop', 'adopt', 'undo')),
    ADD CHECK (outcome IN ('migrated', 'failed', 'restored', 'dropped', 'adopted', 'undone')),
    ADD COLUMN before text CHECK (length(before) <= 64),  -- the snapshot of what a restore or an undo has replaced
    ADD COLUMN aside  text CHECK (length(aside) <= 63);   -- the schema that holds it
GRANT INSERT (before, aside) ON tenants.deploys TO "tenants~members";

-- Takes the bridges of an adoption down, when the app serves with its tenant's own login and needs them no more. It
-- names nothing: whose they are is found by the session's login, which no session can change.
CREATE FUNCTION tenants.take_bridges_down() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '2s'
AS $$
DECLARE
    bridge record;
    count integer := 0;
BEGIN
    FOR bridge IN
        SELECT a.* FROM tenants.adopted a JOIN tenants.logins l ON l.tenant = a.tenant
        WHERE l.role = session_user AND a.bridge
    LOOP
        EXECUTE format('DROP VIEW IF EXISTS %I.%s', bridge.source, bridge.rest);
        UPDATE tenants.adopted SET bridge = false
        WHERE (tenant, kind, rest) = (bridge.tenant, bridge.kind, bridge.rest);
        count := count + 1;
    END LOOP;
    RETURN count;
END
$$;
REVOKE ALL ON FUNCTION tenants.take_bridges_down() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenants.take_bridges_down() TO "tenants~members";
