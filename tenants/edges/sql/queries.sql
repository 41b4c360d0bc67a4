-- All of these run with search_path = pg_catalog, on catalogs alone: nothing that a tenant made is executed by them.

-- name: identify
-- Who we are, and what we may do.
SELECT current_user::text AS role,
       session_user::text AS login,
       r.rolsuper AS superuser,
       r.rolcreaterole AND has_database_privilege(current_database(), 'CREATE') AS manager,
       r.rolinherit AS inherits,
       current_database()::text AS database,
       current_setting('server_version_num')::int AS version,
       EXISTS (SELECT FROM pg_namespace WHERE nspname = 'tenants') AS catalog_schema,
       (SELECT count(*) = 3 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'tenants') AND c.relkind = 'r'
          AND (c.relowner IN (SELECT oid FROM pg_roles WHERE rolsuper) OR pg_has_role(current_user, c.relowner, 'MEMBER')
               OR NOT r.rolsuper AND NOT r.rolcreaterole)
          AND (c.relname::text, a.attname::text) IN (('catalog', 'version'), ('catalog', 'server'), ('tenants', 'project'))
       ) AS catalog,
       coalesce((SELECT pg_has_role(current_user, g.oid, 'USAGE') FROM pg_roles g WHERE g.rolname = 'tenants~members'),
                false) AS member
FROM pg_roles r
WHERE r.rolname = current_user;

-- name: schemas
-- For each of the given schemas: is it there, does it hold anything, and is its version table what its tool makes?
-- `version_fault` is what is wrong with it; it is only read where that is null. `owned`: whether the schema's owner must own it.
SELECT wanted.name,
       n.oid IS NOT NULL AS exists,
       pg_get_userbyid(n.nspowner)::text AS owner,
       NOT EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = n.oid
                   AND classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass,
                                   'pg_operator'::regclass, 'pg_collation'::regclass)) AS empty,
       c.oid IS NOT NULL AS versioned,
       CASE
           WHEN c.oid IS NULL THEN NULL
           WHEN c.relkind <> 'r' THEN
               'it is ' || CASE c.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view'
                                          WHEN 'f' THEN 'a foreign table' WHEN 'p' THEN 'a partitioned table'
                                          WHEN 'S' THEN 'a sequence' ELSE 'no table' END
           WHEN c.relpersistence <> 'p' THEN 'it is not a permanent table'
           WHEN %(owned)s::boolean AND c.relowner <> n.nspowner THEN 'it belongs to ' || pg_get_userbyid(c.relowner)
           WHEN c.relrowsecurity OR c.relforcerowsecurity THEN 'it has row level security'
           WHEN c.relhasrules THEN 'it has rules'
           WHEN EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid OR inhparent = c.oid) THEN 'it takes part in inheritance'
           WHEN (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
                <> ARRAY[%(column)s::text] THEN 'it has other columns than ' || %(column)s::text
           WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
                        AND (atttypid NOT IN ('varchar'::regtype, 'text'::regtype) OR attgenerated <> ''))
               THEN 'its column ' || %(column)s::text || ' is not a plain varchar'
       END AS version_fault
FROM unnest(%(names)s::text[]) AS wanted (name)
LEFT JOIN pg_namespace n ON n.nspname = wanted.name
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = %(table)s::text
ORDER BY wanted.name;

-- name: names_taken
-- What already bears the name: 'role', 'schema', 'database'.
SELECT 'role' AS what FROM pg_roles WHERE rolname = %(name)s
UNION ALL SELECT 'schema' FROM pg_namespace WHERE nspname = %(name)s
UNION ALL SELECT 'database' FROM pg_database WHERE datname = %(name)s;

-- name: owned_elsewhere
-- Objects of this database that belong to the tenant's owner or to one of its logins, and lie neither in its schema
-- nor in one that a restore has set aside, nor among temporary ones. Each is identified only after all that is the
-- tenant's has been found, so that it takes as long whatever else the database holds.
WITH own AS MATERIALIZED (
    SELECT oid, quote_ident(nspname) AS name FROM pg_namespace
    WHERE nspname = %(tenant)s OR starts_with(nspname, %(tenant)s || '~before~')
), owned AS MATERIALIZED (
    SELECT d.classid, d.objid, d.objsubid FROM pg_shdepend d
    WHERE d.refclassid = 'pg_authid'::regclass
      AND d.refobjid = ANY (ARRAY(SELECT oid FROM pg_roles
                                  WHERE rolname = %(tenant)s OR starts_with(rolname, %(tenant)s || '~')))
      AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND d.deptype = 'o'
), elsewhere AS MATERIALIZED (
    SELECT o.* FROM owned o
    WHERE NOT (o.classid = 'pg_namespace'::regclass AND o.objid IN (SELECT oid FROM own))
      AND NOT (o.classid = 'pg_class'::regclass
               AND EXISTS (SELECT FROM pg_class c WHERE c.oid = o.objid AND c.relnamespace IN (SELECT oid FROM own)))
)
SELECT found.type, found.identity
FROM elsewhere e, LATERAL pg_identify_object(e.classid, e.objid, e.objsubid) AS found
WHERE found.type IS NOT NULL
  AND coalesce(found.schema, '') NOT IN (SELECT name FROM own)
  AND coalesce(found.schema, '') !~ '^pg_(toast_)?temp'
ORDER BY 1, 2;

-- name: fingerprint
-- A digest of all definitions in a schema: it changes with every DDL statement that stays, and not with rows, nor with
-- what vacuum and analyze note down, nor with invalid indexes, which no query uses. All of it is found from what depends
-- on the schema, by indexes: catalogs have none on namespaces, and reading them from end to end would take as long as there
-- are other tenants.
WITH held AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace
), types AS MATERIALIZED (
    SELECT oid, xmin, typrelid FROM pg_type
    WHERE oid = ANY (ARRAY(SELECT objid FROM held WHERE classid = 'pg_type'::regclass))
), tables AS MATERIALIZED (
    SELECT objid AS oid FROM held WHERE classid = 'pg_class'::regclass
    UNION ALL SELECT typrelid FROM types WHERE typrelid <> 0
), classes AS MATERIALIZED (
    SELECT oid FROM tables
    UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = ANY (ARRAY(SELECT oid FROM tables)) AND indisvalid
), parts (part) AS (
    SELECT 'n' || oid || ' ' || xmin FROM pg_namespace WHERE oid = %(schema)s::regnamespace
    UNION ALL SELECT 'h' || classid || ' ' || objid FROM held
    UNION ALL SELECT 'c' || oid || ' ' || xmin FROM pg_class WHERE oid = ANY (ARRAY(SELECT oid FROM classes))
    UNION ALL SELECT 'a' || attrelid || ' ' || attnum || ' ' || xmin FROM pg_attribute
              WHERE attrelid = ANY (ARRAY(SELECT oid FROM classes))
    UNION ALL SELECT 'd' || oid || ' ' || xmin FROM pg_attrdef WHERE adrelid = ANY (ARRAY(SELECT oid FROM tables))
    UNION ALL SELECT 't' || oid || ' ' || xmin FROM pg_trigger WHERE tgrelid = ANY (ARRAY(SELECT oid FROM tables))
    UNION ALL SELECT 'r' || oid || ' ' || xmin FROM pg_rewrite WHERE ev_class = ANY (ARRAY(SELECT oid FROM tables))
    UNION ALL SELECT 'l' || oid || ' ' || xmin FROM pg_policy WHERE polrelid = ANY (ARRAY(SELECT oid FROM tables))
    UNION ALL SELECT 's' || seqrelid || ' ' || xmin FROM pg_sequence WHERE seqrelid = ANY (ARRAY(SELECT oid FROM tables))
    UNION ALL SELECT 'k' || oid || ' ' || xmin FROM pg_constraint WHERE conrelid = ANY (ARRAY(SELECT oid FROM tables))
    UNION ALL SELECT 'k' || oid || ' ' || xmin FROM pg_constraint
              WHERE conrelid = 0 AND contypid = ANY (ARRAY(SELECT oid FROM types))
    UNION ALL SELECT 'y' || oid || ' ' || xmin FROM types
    UNION ALL SELECT 'e' || oid || ' ' || xmin FROM pg_enum WHERE enumtypid = ANY (ARRAY(SELECT oid FROM types))
    UNION ALL SELECT 'p' || oid || ' ' || xmin FROM pg_proc
              WHERE oid = ANY (ARRAY(SELECT objid FROM held WHERE classid = 'pg_proc'::regclass))
    UNION ALL SELECT 'o' || oid || ' ' || xmin FROM pg_operator
              WHERE oid = ANY (ARRAY(SELECT objid FROM held WHERE classid = 'pg_operator'::regclass))
    UNION ALL SELECT 'x' || oid || ' ' || xmin FROM pg_statistic_ext
              WHERE oid = ANY (ARRAY(SELECT objid FROM held WHERE classid = 'pg_statistic_ext'::regclass))
)
SELECT md5(string_agg(part, ',' ORDER BY part)) FROM parts;

-- name: counted
-- What the server has counted of each table in a schema, and where each sequence is. Found by indexes, as `fingerprint` is.
SELECT c.relname::text AS name, c.relkind = 'S' AS sequence,
       CASE c.relkind WHEN 'S' THEN coalesce(pg_sequence_last_value(c.oid), -1) ELSE 0 END AS place,
       pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid) AS attempted,
       pg_stat_get_mod_since_analyze(c.oid) AS committed,
       pg_stat_get_analyze_count(c.oid) + pg_stat_get_autoanalyze_count(c.oid) AS analyzed
FROM pg_class c
WHERE c.oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
                         AND refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(%(schema)s)))
  AND c.relkind IN ('r', 'm', 'S')
ORDER BY 1;

-- name: counting
-- Whether what the server counts can be relied on: it counts, since when, and which sessions and prepared transactions of
-- the tenant's roles have not ended, so that what they wrote is not counted yet.
SELECT current_setting('server_version_num')::int AS version,
       current_setting('track_counts')::boolean AS counting,
       (SELECT stats_reset::text FROM pg_stat_database WHERE datname = current_database()) AS since,
       ARRAY(SELECT 'pid ' || pid FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND (usename = %(tenant)s OR starts_with(usename, %(tenant)s || '~'))
             UNION ALL SELECT 'prepared ' || gid FROM pg_prepared_xacts
             WHERE database = current_database() AND (owner = %(tenant)s OR starts_with(owner, %(tenant)s || '~'))
       ) AS sessions;

-- name: transactions
-- The transactions of this login's other sessions in this database, and the sessions.
SELECT a.pid, l.virtualtransaction AS transaction
FROM pg_stat_activity a
LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'virtualxid' AND l.granted
WHERE a.usename = session_user AND a.datname = current_database() AND a.pid <> pg_backend_pid();

-- name: grantees
-- Roles other than the owner that something in the schema, or the schema itself, is granted to.
SELECT DISTINCT pg_get_userbyid(acl.grantee)::text AS role
FROM pg_namespace n
JOIN LATERAL (
    SELECT n.nspacl AS acl
    UNION ALL SELECT relacl FROM pg_class WHERE relnamespace = n.oid
    UNION ALL SELECT attacl FROM pg_attribute a JOIN pg_class c ON a.attrelid = c.oid WHERE c.relnamespace = n.oid
    UNION ALL SELECT proacl FROM pg_proc WHERE pronamespace = n.oid
    UNION ALL SELECT typacl FROM pg_type WHERE typnamespace = n.oid
    UNION ALL SELECT defaclacl FROM pg_default_acl WHERE defaclnamespace = n.oid
) found ON found.acl IS NOT NULL
CROSS JOIN LATERAL aclexplode(found.acl) AS acl
WHERE n.nspname = %(schema)s AND acl.grantee <> 0 AND acl.grantee <> n.nspowner
ORDER BY 1;

-- name: roles_of
-- All roles whose names are derived from the tenant's, and whether sessions of theirs are open.
SELECT r.rolname::text AS role,
       r.rolcanlogin AS can_login,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)::int AS sessions
FROM pg_roles r
WHERE starts_with(r.rolname, %(prefix)s)
ORDER BY 1;

-- name: present
-- Which of these roles there are.
SELECT rolname::text AS role FROM pg_roles WHERE rolname = ANY(%(roles)s::name[]) ORDER BY 1;

-- name: visitors
-- The roles of psql's visits to a tenant, and whether the session that made each is still there.
SELECT r.rolname::text AS role,
       EXISTS (SELECT FROM pg_stat_activity a
               WHERE strpos(a.usename, '~') = 0 AND a.application_name = left('tenants ' || r.rolname, 63)) AS visiting
FROM pg_roles r
WHERE starts_with(r.rolname, %(prefix)s)
ORDER BY 1;

-- name: end_sessions
SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE usename = ANY(%(roles)s::text[]);

-- name: end_others
-- End the other sessions of this role, and count them.
SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity
WHERE usename = current_user AND pid <> pg_backend_pid();

-- name: own_schemas
-- Schemas of this database that belong to this role.
SELECT nspname::text AS name FROM pg_namespace
WHERE nspowner = current_user::regrole AND nspname !~ '^pg_(toast_)?temp';

-- name: prepared
-- Prepared transactions of the roles in this database, and whose they are.
SELECT gid, owner::text AS role FROM pg_prepared_xacts
WHERE database = current_database() AND owner = ANY(%(roles)s::text[])
ORDER BY 1;

-- name: prepared_here
-- Prepared transactions of this database, and whose they are.
SELECT gid, owner::text AS role FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1;

-- name: sessions
SELECT count(*)::int FROM pg_stat_activity WHERE usename = ANY(%(roles)s::text[]);

-- name: databases_of_role
-- Databases in which the role owns something or is granted something.
SELECT DISTINCT coalesce(d.datname, current_database())::text AS name
FROM pg_shdepend s
JOIN pg_roles r ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
LEFT JOIN pg_database d ON d.oid = s.dbid
WHERE r.rolname = %(role)s;

-- name: lock_holder
-- Who holds a lock of ours: pid, role, and the name its session gave itself.
SELECT l.pid, a.usename::text AS role, a.application_name AS name
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = %(key)s;

-- name: lock_sessions
-- Who holds a lock of ours or waits for it.
SELECT l.pid, a.usename::text AS role
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = %(key)s;

-- name: end_blockers
-- End the sessions of tenants for which the session of that pid waits.
SELECT count(pg_terminate_backend(b.pid))::int
FROM unnest(pg_blocking_pids(%(pid)s)) AS blocking (pid)
JOIN pg_stat_activity b ON b.pid = blocking.pid
WHERE strpos(b.usename, '~') > 0;

-- name: holders
-- Sessions that hold tables of a schema and are not the migration's own, the oldest transactions first.
SELECT a.pid, a.usename::text AS role, a.application_name AS name, a.state,
       CASE a.backend_type WHEN 'client backend' THEN NULL ELSE a.backend_type END AS kind,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float AS seconds
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.application_name NOT LIKE 'tenants migrates %%'
  AND EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
              WHERE l.pid = a.pid AND l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm')
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND c.relnamespace = %(schema)s::regnamespace)
ORDER BY a.xact_start NULLS LAST
LIMIT 3;

-- name: catalog_holders
-- Who else holds a lock on a table of the catalog: sessions, and transactions that are prepared. `ours`: of a role whose
-- name is made of a tenant's, or of a tenant itself, which a session becomes before it prepares a transaction.
SELECT DISTINCT l.pid, a.application_name AS name, p.gid, coalesce(a.usename, p.owner)::text AS role,
       coalesce(strpos(coalesce(a.usename, p.owner), '~') > 0
                OR EXISTS (SELECT FROM tenants.tenants t WHERE t.name = coalesce(a.usename, p.owner)), false) AS ours
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
                    AND x.locktype = 'transactionid'
LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE l.granted AND l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'tenants')
ORDER BY l.pid NULLS LAST;

-- name: tables_of
-- The tables of a schema.
SELECT c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind = 'r' ORDER BY c.oid;

-- name: blockers
-- Whom the session that holds the advisory lock `key` has waited for, for more than a few seconds.
SELECT b.pid, b.usename::text AS role, b.application_name AS name, b.state,
       CASE b.backend_type WHEN 'client backend' THEN NULL ELSE b.backend_type END AS kind,
       extract(epoch FROM clock_timestamp() - b.xact_start)::float AS seconds
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid AND a.wait_event_type = 'Lock'
CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS blocking (pid)
JOIN pg_stat_activity b ON b.pid = blocking.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = %(key)s
  AND a.query_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY b.xact_start NULLS LAST
LIMIT 3;

-- name: invalid_indexes
-- Indexes of a schema that a CREATE INDEX CONCURRENTLY has left unfinished.
SELECT c.relname::text AS name
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
                              AND refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace))
  AND NOT i.indisvalid AND c.relkind = 'i'
ORDER BY 1;

-- name: scratch
-- Databases in which snapshots are tried out; runs that were killed leave them behind.
SELECT datname::text AS name FROM pg_database WHERE starts_with(datname, %(prefix)s) ORDER BY 1;

-- name: locale
-- How this database compares and sorts texts, as CREATE DATABASE takes it.
SELECT pg_encoding_to_char(encoding)::text AS encoding, datcollate::text AS collate, datctype::text AS ctype,
       CASE to_jsonb(d) ->> 'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale
FROM pg_database d WHERE datname = current_database();

-- name: asides
-- Schemas that restores have set aside.
SELECT nspname::text AS name, pg_get_userbyid(nspowner)::text AS tenant
FROM pg_namespace
WHERE strpos(nspname, '~before~') > 0 AND starts_with(nspname, pg_get_userbyid(nspowner) || '~before~')
ORDER BY 1;

-- name: extension
-- Whether the server has an extension of that name, the schema it lies in, if it was made in this database, and whether
-- PostgreSQL lets anybody make it who may make schemas.
SELECT n.nspname::text AS schema,
       EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = a.name AND v.trusted) AS trusted
FROM pg_available_extensions a
LEFT JOIN pg_extension e ON e.extname = a.name
LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE a.name = %(name)s;

-- name: extensions
-- The extensions that tenants may use.
SELECT e.extname::text AS name
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE n.nspname = 'extensions'
ORDER BY 1;

-- name: followers
-- Who outside of a schema holds on to what is in it: views, foreign keys and columns elsewhere, and publications. What a
-- restore has set aside of the tenant is not elsewhere.
WITH inside AS (
    SELECT 'pg_class'::regclass AS classid, oid, oid::regclass::text AS what FROM pg_class
    WHERE relnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_type'::regclass, oid, format_type(oid, NULL) FROM pg_type WHERE typnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_proc'::regclass, oid, oid::regproc::text FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_namespace'::regclass, oid, 'tables of ' || nspname FROM pg_namespace
    WHERE oid = %(schema)s::regnamespace
), outside AS (
    SELECT d.classid, d.objid, i.what
    FROM pg_depend d
    JOIN inside i ON (d.refclassid, d.refobjid) = (i.classid, i.oid)
    WHERE d.deptype IN ('n', 'a')
), named AS (
    SELECT coalesce(c.oid::regclass::text, pg_describe_object(o.classid, o.objid, 0)) AS who, o.what,
           coalesce(c.relnamespace, t.relnamespace, f.relnamespace, p.pronamespace, y.typnamespace) AS namespace,
           o.classid
    FROM outside o
    LEFT JOIN pg_rewrite w ON o.classid = 'pg_rewrite'::regclass AND w.oid = o.objid
    LEFT JOIN pg_class c ON c.oid = w.ev_class
    LEFT JOIN pg_class t ON o.classid = 'pg_class'::regclass AND t.oid = o.objid
    LEFT JOIN pg_constraint k ON o.classid = 'pg_constraint'::regclass AND k.oid = o.objid
    LEFT JOIN pg_class f ON f.oid = k.conrelid
    LEFT JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid
    LEFT JOIN pg_type y ON o.classid = 'pg_type'::regclass AND y.oid = o.objid
)
SELECT DISTINCT n.who, n.what
FROM named n
LEFT JOIN pg_namespace s ON s.oid = n.namespace
WHERE n.classid IN (to_regclass('pg_publication_rel')::oid, to_regclass('pg_publication_namespace')::oid)
   OR (s.oid <> %(schema)s::regnamespace AND NOT starts_with(s.nspname, %(name)s || '~before~')
       AND s.nspname NOT LIKE 'pg\_toast%%')
ORDER BY 1, 2;

-- name: own_types
-- Types of a schema that columns of its tables have, and that plans of open sessions depend on.
SELECT DISTINCT format_type(t.oid, NULL) AS name
FROM pg_type t
JOIN pg_attribute a ON a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'm', 'v') AND c.relnamespace = t.typnamespace
WHERE t.typnamespace = %(schema)s::regnamespace AND t.typtype IN ('e', 'd', 'c', 'r')
ORDER BY 1;

-- name: tables
-- Relations of a schema, by name.
SELECT c.relname::text AS name, c.relkind::text AS kind
FROM pg_class c
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY(%(names)s) AND c.relkind IN ('r', 'p', 'm', 'v', 'f');

-- name: routines_naming
-- Routines of a schema whose text, or a setting of theirs, has a word in it.
SELECT p.oid::regprocedure::text AS routine
FROM pg_proc p
WHERE p.pronamespace = %(schema)s::regnamespace
  AND concat(p.prosrc, ' ', array_to_string(p.proconfig, ' ')) ~ ('\m' || regexp_replace(%(text)s, '\W', '\\\&', 'g') || '\M')
ORDER BY 1;

-- name: held
-- How many objects a schema holds.
SELECT count(*)::int FROM pg_depend d JOIN pg_namespace n ON d.refobjid = n.oid
WHERE d.refclassid = 'pg_namespace'::regclass AND n.nspname = %(schema)s;

-- name: room_for_locks
-- How many tables of the tenant pg_dump would lock, and about how many locks the server has room for, of all sessions.
SELECT (SELECT count(*) FROM pg_class c WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p'))::int
           AS tables,
       current_setting('max_locks_per_transaction')::int AS each,
       current_setting('max_locks_per_transaction')::int
           * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) AS room;

-- name: size
-- Bytes that the tables of a schema take, with their indexes.
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes
FROM pg_class c
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'm');

-- name: size_of_rows
-- About how many bytes the rows of a schema are. Where a session keeps everybody from looking at a table, it is what
-- vacuum has noted down.
SELECT coalesce(sum(CASE WHEN EXISTS (SELECT FROM pg_locks l WHERE l.relation = p.oid AND l.mode = 'AccessExclusiveLock')
                         THEN greatest(p.relpages, 0) * current_setting('block_size')::bigint
                         ELSE pg_relation_size(p.oid) END), 0)::bigint AS bytes
FROM pg_class c JOIN pg_class p ON p.oid IN (c.oid, c.reltoastrelid)
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind = 'r';

-- name: forced
-- How many tables of a schema have policies that bind their owner as well.
SELECT count(*) AS count FROM pg_class c
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relrowsecurity AND c.relforcerowsecurity;

-- name: last_good
-- The last record of each tenant that is not one of a failure, and changed something.
SELECT d.tenant, d.kind, d.outcome, d.to_heads, d.git_rev, d.recorded_at, d.live_at
FROM unnest(%(names)s::text[]) AS wanted (name)
CROSS JOIN LATERAL (SELECT * FROM tenants.deploys WHERE tenant = wanted.name AND outcome NOT IN ('failed', 'unchanged')
                    ORDER BY recorded_at DESC LIMIT 1) d;

-- name: runs
-- The heads before each deploy of the tenants and the revisions that it ran, in the order of time. Of each tenant the
-- newest deploys, as many as 2 MB hold: a tenant writes records itself, and what it wrote must not fill who reads them.
SELECT kept.tenant, kept.from_heads, kept.applied
FROM unnest(%(names)s::text[]) AS wanted (name)
CROSS JOIN LATERAL (
    SELECT d.tenant, d.from_heads, d.applied, d.recorded_at,
           sum(64 * cardinality(d.applied) + length(array_to_string(d.applied, '')) + length(array_to_string(d.from_heads, '')))
               OVER (ORDER BY d.recorded_at DESC, d.id) AS weight
    FROM (SELECT * FROM tenants.deploys WHERE tenant = wanted.name AND cardinality(applied) > 0
          ORDER BY recorded_at DESC LIMIT 2000) d
) kept
WHERE kept.weight <= 2000000
ORDER BY kept.tenant, kept.recorded_at;

-- name: views_over
-- How many views of other schemas look at what lies in this one, and are those of whoever has the catalog: what an
-- adoption has left. A tenant may not read the list of them.
SELECT count(DISTINCT v.oid) AS count
FROM pg_class v
JOIN pg_rewrite r ON r.ev_class = v.oid
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
JOIN pg_class t ON t.oid = d.refobjid
WHERE v.relkind = 'v' AND t.relnamespace = to_regnamespace(%(schema)s) AND v.relnamespace <> t.relnamespace
  AND v.relowner = (SELECT nspowner FROM pg_namespace WHERE nspname = 'tenants');

-- name: glance
-- psql's: see glance.py, which puts the statements that are named in brackets in. First who we are, then how much there is,
-- then a line for each tenant, then the rows of all version tables that are what they have to be, each after a line with
-- a tab in it, which a row cannot have.
SELECT row_to_json(me) AS json, me.catalog FROM (identify) me \gset me_
\if :me_catalog
\else
\quit
\endif
SELECT :'me_json';
SELECT json_build_object(
    'version', (SELECT version FROM tenants.catalog),
    'count', (SELECT count(*) FROM tenants.tenants),
    'left', EXISTS (SELECT FROM pg_roles WHERE rolname ~ '~(deploy|scratch)~'));
WITH seen AS MATERIALIZED (schemas), ran AS MATERIALIZED (
    SELECT r.tenant, json_agg(json_build_array(r.from_heads, r.applied)) AS ran FROM (runs) r WHERE :order GROUP BY r.tenant
), lines AS (
    SELECT t.name, json_build_object(
        'name', t.name, 'project', t.project, 'suspended', t.suspended_at IS NOT NULL, 'versioned', s.versioned,
        'sound', s.exists AND s.owner = t.name AND s.version_fault IS NULL,
        'last', CASE WHEN l.tenant IS NOT NULL THEN row_to_json(l) END,
        'ran', (SELECT ran FROM ran WHERE tenant = t.name))::text AS line
    FROM tenants.tenants t JOIN seen s ON s.name = t.name LEFT JOIN (last_good) l ON l.tenant = t.name
), batches AS (
    SELECT batch, 'BEGIN READ ONLY; SET LOCAL row_security = off; SET LOCAL lock_timeout = MILLISECONDS; ' || string_agg(
        format('COPY (SELECT %L, ''begin'') TO STDOUT; COPY %I.alembic_version (version_num) TO STDOUT', name, name),
        '; ' ORDER BY name) || '; COPY (SELECT '''', ''end'') TO STDOUT; COMMIT' AS copies
    FROM (SELECT name, row_number() OVER (ORDER BY name) / 250 AS batch FROM seen
          WHERE versioned AND version_fault IS NULL) s
    GROUP BY batch
)
SELECT coalesce((SELECT string_agg(line, E'\n' ORDER BY name) FROM lines), '') AS lines,
       coalesce((SELECT json_agg(copies ORDER BY batch) FROM batches), '[]') AS copies \gset
SELECT :'lines';
SELECT json_array_elements_text(:'copies') \gexec

-- name: trusting_rules
-- Lines of pg_hba.conf that let somebody in over a network without a password. A superuser may read them.
SELECT line_number AS line, array_to_string(user_name, ', ') AS users, address
FROM pg_hba_file_rules
WHERE auth_method = 'trust' AND type LIKE 'host%' AND address NOT IN ('127.0.0.1', '::1', 'samehost', 'localhost')
ORDER BY line_number;

-- name: may_make_databases
SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user;
