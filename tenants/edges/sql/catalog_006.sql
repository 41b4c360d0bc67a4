-- What a tenant writes into the catalog: typed, bounded, at a limited rate, and dated by the server.
--
-- A tenant has no privilege to write to a table here. It calls the functions below. They find the tenant by the login of
-- the session, which no session can change, and not by an argument. What they write is the tenant's own word: `by_tenant`.

ALTER TABLE tenants.tenants ADD COLUMN objects integer NOT NULL DEFAULT 5000 CHECK (objects > 0);

ALTER TABLE tenants.deploys ADD COLUMN by_tenant boolean NOT NULL DEFAULT false;
ALTER TABLE tenants.snapshots ADD COLUMN by_tenant boolean NOT NULL DEFAULT false;
REVOKE INSERT, UPDATE ON tenants.deploys, tenants.snapshots FROM "tenants~members";

-- How much each tenant has written within the hour. No foreign key: its check would lock the tenant's row.
CREATE TABLE tenants.written (
    tenant text NOT NULL,
    what   text NOT NULL,
    hour   bigint NOT NULL,  -- since 1970
    count  integer NOT NULL,
    PRIMARY KEY (tenant, what)
);

-- The tenant whose login this session is.
CREATE FUNCTION tenants.caller() RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found text;
BEGIN
    SELECT l.tenant INTO found FROM tenants.logins l WHERE l.role = session_user AND l.kind = 'owner';
    IF found IS NULL THEN
        RAISE EXCEPTION '% is not a login of a tenant', session_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found;
END
$$;

-- Count one more of `what`. The row that counts is locked until the transaction ends, so that sessions of one tenant
-- write one after the other; no other tenant and no command of the admin waits for that row. The hour is computed without
-- the session's time zone, which the session can change.
CREATE FUNCTION tenants.count_written(tenant text, what text, most integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    written integer;
BEGIN
    INSERT INTO tenants.written AS w (tenant, what, hour, count)
    VALUES (count_written.tenant, count_written.what, floor(extract(epoch FROM clock_timestamp()) / 3600), 1)
    ON CONFLICT ON CONSTRAINT written_pkey DO UPDATE
    SET count = CASE WHEN w.hour = excluded.hour THEN w.count + 1 ELSE 1 END, hour = excluded.hour
    RETURNING w.count INTO written;
    IF written > most THEN
        RAISE EXCEPTION '% has written % % within this hour, and no more are taken', tenant, most, what
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
END
$$;

-- About how many bytes a list takes where it is read.
CREATE FUNCTION tenants.weight(list text[]) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS 'SELECT 64 * cardinality(list)::bigint + length(array_to_string(list, ''''))';

-- A record of the tenant's own deploy or run. 120 an hour; of all that a tenant has written, the newest 1,000 records
-- stay, and no more than 2 MB.
CREATE FUNCTION tenants.add_record(
    kind text, from_heads text[], to_heads text[], applied text[], git_rev text, snapshot text, outcome text, error text,
    stages jsonb, command text, output text, changed boolean
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := tenants.caller();
BEGIN
    IF coalesce(kind NOT IN ('deploy', 'run') OR outcome NOT IN ('migrated', 'failed', 'unchanged'), true) THEN
        RAISE EXCEPTION 'a tenant records no % that is %', left(kind, 20), left(outcome, 20)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (
        SELECT FROM (VALUES (from_heads, 100), (to_heads, 100), (applied, 5000)) AS given (list, most)
        WHERE list IS NULL OR cardinality(list) > most OR tenants.weight(list) > 480000
           OR EXISTS (SELECT FROM unnest(list) AS revision WHERE length(revision) > 255)
    ) THEN
        RAISE EXCEPTION 'a record names at most 5,000 revisions of at most 255 characters, and 100 heads'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(stages) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'stages are an object of numbers' USING ERRCODE = 'invalid_parameter_value';
    ELSIF EXISTS (SELECT FROM jsonb_each(stages) AS stage WHERE jsonb_typeof(stage.value) <> 'number') THEN
        RAISE EXCEPTION 'stages are an object of numbers' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM tenants.count_written(mine, 'records', 120);
    INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, git_rev, snapshot, outcome, error,
                                 stages, command, output, changed, recorded_at, by_tenant)
    SELECT mine, t.project, add_record.kind, add_record.from_heads, add_record.to_heads, add_record.applied,
           add_record.git_rev, add_record.snapshot, add_record.outcome, add_record.error, add_record.stages,
           add_record.command, add_record.output, add_record.changed, clock_timestamp(), true
    FROM tenants.tenants t WHERE t.name = mine;
    DELETE FROM tenants.deploys d
    USING (SELECT own.id, row_number() OVER newest AS place,
                  sum(tenants.weight(own.from_heads) + tenants.weight(own.to_heads) + tenants.weight(own.applied))
                      OVER newest AS weight
           FROM tenants.deploys own WHERE own.tenant = mine AND own.by_tenant
           WINDOW newest AS (ORDER BY own.recorded_at DESC, own.id)) old
    WHERE d.id = old.id AND (old.place > 1000 OR old.weight > 2000000);
END
$$;

-- A snapshot that the tenant has taken with its own URL. 60 an hour, 1,000 in all. Its id and its date are of now, or of
-- the two days that an upload may take.
CREATE FUNCTION tenants.add_snapshot(
    id text, created_at timestamptz, revision text, bytes bigint, sha256 text, verified_at timestamptz, content text,
    manifest text, store text
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := tenants.caller();
    moment timestamptz := clock_timestamp();
BEGIN
    IF (id ~ '^[0-9]{8}T[0-9]{6}Z-[0-9a-z]{6}$' AND sha256 ~ '^[0-9a-f]{64}$' AND coalesce(content, '') ~ '^([0-9a-f]{64})?$'
        AND manifest ~ '^[0-9a-f]{64}$' AND bytes BETWEEN 0 AND 1::bigint << 50) IS NOT TRUE THEN
        RAISE EXCEPTION 'this describes no snapshot' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (created_at BETWEEN moment - interval '2 days' AND moment + interval '5 minutes'
        AND verified_at BETWEEN moment - interval '2 days' AND moment + interval '5 minutes'
        AND left(id, 16) = to_char(created_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"')) IS NOT TRUE THEN
        RAISE EXCEPTION 'snapshot % is not of now', id
            USING ERRCODE = 'datetime_field_overflow',
                  DETAIL = format('The clock of the server says %s.', to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'));
    END IF;
    PERFORM tenants.count_written(mine, 'snapshots', 60);
    IF length(revision) > 1000 THEN
        RAISE EXCEPTION 'a revision has at most 1,000 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (SELECT count(*) FROM tenants.snapshots s WHERE s.tenant = mine AND s.by_tenant) >= 1000 THEN
        RAISE EXCEPTION '% has 1,000 snapshots of its own on record', mine
            USING ERRCODE = 'program_limit_exceeded', DETAIL = 'The nightly run prunes them.';
    END IF;
    INSERT INTO tenants.snapshots (id, tenant, created_at, revision, bytes, sha256, verified_at, content, manifest, store,
                                   by_tenant)
    VALUES (add_snapshot.id, mine, add_snapshot.created_at, add_snapshot.revision, add_snapshot.bytes,
            add_snapshot.sha256, add_snapshot.verified_at, nullif(add_snapshot.content, ''), add_snapshot.manifest,
            add_snapshot.store, true)
    ON CONFLICT DO NOTHING;
    DELETE FROM tenants.pending p WHERE p.tenant = mine AND p.by_tenant;
END
$$;

-- The snapshot of the tenant that is under way: its archive is in storage. There is one at most.
CREATE FUNCTION tenants.begin_snapshot(id text, manifest text, content text, store text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := tenants.caller();
BEGIN
    PERFORM tenants.count_written(mine, 'begun', 120);
    DELETE FROM tenants.pending p WHERE p.tenant = mine;
    INSERT INTO tenants.pending (tenant, id, manifest, content, store, by_tenant)
    VALUES (mine, begin_snapshot.id, begin_snapshot.manifest, begin_snapshot.content, begin_snapshot.store, true);
END
$$;

CREATE FUNCTION tenants.forget_pending() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := tenants.caller();
BEGIN
    DELETE FROM tenants.pending p WHERE p.tenant = mine AND p.by_tenant;
END
$$;

-- The release of that commit serves: all that the tenant has migrated is live. Whether the release had migrated anything
-- that was not marked yet.
CREATE FUNCTION tenants.mark_live(revision text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := tenants.caller();
    new  boolean;
BEGIN
    WITH marked AS (
        UPDATE tenants.deploys SET live_at = clock_timestamp()
        WHERE id IN (SELECT d.id FROM tenants.deploys d
                     WHERE d.tenant = mine AND d.live_at IS NULL AND d.outcome = 'migrated' FOR UPDATE SKIP LOCKED)
        RETURNING git_rev
    )
    SELECT bool_or(git_rev = revision) INTO new FROM marked;
    RETURN coalesce(new, false);
END
$$;

-- The app serves with what was adopted or restored. Whether that is new.
CREATE FUNCTION tenants.mark_serving() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := tenants.caller();
BEGIN
    UPDATE tenants.deploys SET live_at = clock_timestamp()
    WHERE id IN (SELECT d.id FROM tenants.deploys d
                 WHERE d.tenant = mine AND d.live_at IS NULL AND d.outcome IN ('adopted', 'restored')
                 FOR UPDATE SKIP LOCKED);
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION tenants.caller(), tenants.count_written(text, text, integer), tenants.weight(text[]),
    tenants.add_record(text, text[], text[], text[], text, text, text, text, jsonb, text, text, boolean),
    tenants.add_snapshot(text, timestamptz, text, bigint, text, timestamptz, text, text, text),
    tenants.begin_snapshot(text, text, text, text), tenants.forget_pending(),
    tenants.mark_live(text), tenants.mark_serving() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    tenants.add_record(text, text[], text[], text[], text, text, text, text, jsonb, text, text, boolean),
    tenants.add_snapshot(text, timestamptz, text, bigint, text, timestamptz, text, text, text),
    tenants.begin_snapshot(text, text, text, text), tenants.forget_pending(),
    tenants.mark_live(text), tenants.mark_serving() TO "tenants~members";

-- Rows of the time before, when a tenant wrote what it liked. The newest 5,000 records of a tenant stay, which bounds what
-- the next statements read; of these, those go that no version of this program has written. The newest 2 MB of a tenant
-- keep the list of their revisions.
DELETE FROM tenants.deploys d
USING (SELECT id, row_number() OVER (PARTITION BY tenant ORDER BY recorded_at DESC, id) AS place FROM tenants.deploys) old
WHERE d.id = old.id AND old.place > 5000;
DELETE FROM tenants.deploys
WHERE cardinality(from_heads) > 100 OR cardinality(to_heads) > 100 OR length(project) > 255
   OR EXISTS (SELECT FROM unnest(from_heads::text[] || to_heads::text[] || applied::text[]) AS revision
              WHERE length(revision) > 255);
UPDATE tenants.deploys d SET applied = '{}'
FROM (SELECT id, sum(tenants.weight(applied)) OVER (PARTITION BY tenant ORDER BY recorded_at DESC, id) AS weight
      FROM tenants.deploys WHERE applied <> '{}') old
WHERE d.id = old.id AND old.weight > 2000000;
UPDATE tenants.deploys SET live_at = now() WHERE live_at > now();
DELETE FROM tenants.snapshots
WHERE created_at > now() + interval '5 minutes' OR id !~ '^[0-9]{8}T[0-9]{6}Z-[0-9a-z]{6}$';
