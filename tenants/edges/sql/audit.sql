-- The rules of the audit. Each selects (tenant, object, fix): whom it concerns, what it found, and the SQL that mends it,
-- quoted by the server itself, null where a person has to decide. A rule whose fix may be out of the admin's reach, where
-- that is no superuser, selects `needs` as well: who can run it. They read catalogs alone, with search_path = pg_catalog.
--
-- repair: that tenant is brought to what the catalog wants by the fix; `apply` runs it.  safe: `audit --fix` runs it as
-- well.  ask: a person has to look first.
--
-- `ours` is the common beginning of them all: the roles that belong to tenants, and of which kind each is.

-- name: audit_ours
WITH ours AS (
    SELECT t.name AS tenant, t.name AS role, 'owner' AS kind FROM tenants.tenants t
    UNION ALL SELECT t.name, t.name || '~app', 'app' FROM tenants.tenants t  -- also one that is wanted no more: its logins go on
    UNION ALL SELECT l.tenant, l.role, 'login' FROM tenants.logins l
    UNION ALL SELECT CASE cardinality(r.tenants) WHEN 1 THEN r.tenants[1] END, r.role, 'reader' FROM tenants.readers r
), roles AS (
    SELECT o.tenant, o.kind, r.oid, r.rolname::text AS role, r.rolcanlogin, r.rolsuper, r.rolcreaterole, r.rolcreatedb,
           r.rolbypassrls, r.rolreplication, r.rolinherit, r.rolconnlimit
    FROM ours o JOIN pg_roles r ON r.rolname = o.role
), schemas AS (
    SELECT t.name AS tenant, n.oid, n.nspname::text AS schema, n.nspowner, n.nspacl, o.oid AS owner
    FROM tenants.tenants t
    JOIN pg_namespace n ON n.nspname = t.name
    JOIN pg_roles o ON o.rolname = t.name
), logins AS (
    SELECT r.*, l.acts_as, l.verifier, s.setconfig AS settings
    FROM roles r
    JOIN (SELECT role, tenant || CASE kind WHEN 'app' THEN '~app' ELSE '' END AS acts_as, verifier FROM tenants.logins
          UNION ALL SELECT role, NULL, verifier FROM tenants.readers WHERE cardinality(tenants) = 1  -- acts as itself
         ) l USING (role)
    LEFT JOIN pg_db_role_setting s
        ON s.setrole = r.oid AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
), memberships AS (  -- since PostgreSQL 16 each has a grantor, who alone takes it back, and options of its own
    SELECT m.roleid, m.member, coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) AS may_set,
           CASE WHEN current_setting('server_version_num')::int >= 160000
                THEN format(' GRANTED BY %I', pg_get_userbyid(m.grantor)) ELSE '' END AS granted_by
    FROM pg_auth_members m
), open_to_all AS (
    SELECT 'database ' || d.datname AS object, format('DATABASE %I', d.datname) AS target, d.datdba AS owner,
           coalesce(d.datacl, acldefault('d', d.datdba)) AS acl
    FROM pg_database d WHERE d.datname IN (current_database(), 'postgres', 'template1')
    UNION ALL
    SELECT 'schema public', 'SCHEMA public', n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace n WHERE n.nspname = 'public'
), sizes AS (  -- where a session keeps everybody from looking at a table, it is the size that vacuum has noted down
    SELECT t.name AS tenant, sum(x.bytes) AS bytes
    FROM tenants.tenants t
    JOIN pg_class c ON c.relkind IN ('r', 'm')
    JOIN pg_namespace n ON n.oid = c.relnamespace
        AND (n.nspname = t.name OR starts_with(n.nspname, t.name || '~before~')
             OR starts_with(n.nspname, 'pg_temp_') AND pg_get_userbyid(c.relowner) IN (t.name, t.name || '~app'))
    CROSS JOIN LATERAL (
        SELECT c.oid UNION ALL SELECT c.reltoastrelid WHERE c.reltoastrelid <> 0
        UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid IN (c.oid, c.reltoastrelid)
    ) part
    JOIN pg_class p ON p.oid = part.oid
    CROSS JOIN LATERAL (
        SELECT CASE WHEN EXISTS (SELECT FROM pg_locks l WHERE l.relation = p.oid AND l.mode = 'AccessExclusiveLock')
                    THEN p.relpages * current_setting('block_size')::bigint ELSE pg_relation_size(p.oid) END AS bytes
    ) x
    GROUP BY t.name
), inside AS (
    SELECT s.tenant, s.owner, o.classid, o.objid, o.type, o.grant_as, o.alter_as, o.owned_by, o.acl,
           (pg_identify_object(o.classid, o.objid, 0)).identity
    FROM schemas s
    JOIN LATERAL (
        SELECT CASE relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END AS type,
               CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS grant_as,
               CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS alter_as,
               'pg_class'::regclass AS classid, oid AS objid, relowner AS owned_by, relacl AS acl
        FROM pg_class WHERE relnamespace = s.oid AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT 'function', 'ROUTINE', 'ROUTINE', 'pg_proc'::regclass, oid, proowner, proacl FROM pg_proc WHERE pronamespace = s.oid
        UNION ALL
        SELECT 'statistics', NULL, 'STATISTICS', 'pg_statistic_ext'::regclass, oid, stxowner, NULL FROM pg_statistic_ext
        WHERE stxnamespace = s.oid
        UNION ALL
        SELECT 'collation', NULL, 'COLLATION', 'pg_collation'::regclass, oid, collowner, NULL FROM pg_collation WHERE collnamespace = s.oid
        UNION ALL
        SELECT 'operator', NULL, 'OPERATOR', 'pg_operator'::regclass, oid, oprowner, NULL FROM pg_operator WHERE oprnamespace = s.oid
        UNION ALL
        SELECT 'operator class', NULL, 'OPERATOR CLASS', 'pg_opclass'::regclass, oid, opcowner, NULL FROM pg_opclass
        WHERE opcnamespace = s.oid
        UNION ALL
        SELECT 'operator family', NULL, 'OPERATOR FAMILY', 'pg_opfamily'::regclass, oid, opfowner, NULL FROM pg_opfamily
        WHERE opfnamespace = s.oid
        UNION ALL
        SELECT 'type', 'TYPE', 'TYPE', 'pg_type'::regclass, oid, typowner, typacl FROM pg_type
        WHERE typnamespace = s.oid AND typtype IN ('e', 'd', 'r', 'm') OR typnamespace = s.oid AND typtype = 'c'
          AND EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND c.relkind = 'c')
    ) o ON true
)


-- name: rule_role_superuser
-- critical safe: A role of a tenant is superuser: it can read and change everything on the server.
SELECT tenant, role AS object, format('ALTER ROLE %I NOSUPERUSER', role) AS fix,
       CASE current_setting('is_superuser') WHEN 'off' THEN 'a superuser' END AS needs
FROM roles WHERE rolsuper

-- name: rule_role_createrole
-- critical safe: A role of a tenant may make roles, and so give itself rights.
SELECT tenant, role AS object, format('ALTER ROLE %I NOCREATEROLE', role) AS fix FROM roles WHERE rolcreaterole

-- name: rule_role_createdb
-- high safe: A role of a tenant may make databases, which no limit and no snapshot covers.
SELECT tenant, role AS object, format('ALTER ROLE %I NOCREATEDB', role) AS fix FROM roles WHERE rolcreatedb

-- name: rule_role_bypassrls
-- high safe: A role of a tenant passes by row level security.
SELECT tenant, role AS object, format('ALTER ROLE %I NOBYPASSRLS', role) AS fix FROM roles WHERE rolbypassrls

-- name: rule_role_replication
-- critical safe: A role of a tenant may replicate, and so read all databases of the server.
SELECT tenant, role AS object, format('ALTER ROLE %I NOREPLICATION', role) AS fix FROM roles WHERE rolreplication

-- name: rule_owner_login
-- high repair: The role that owns a schema can log in itself, past the limits of its logins.
SELECT tenant, role AS object, format('ALTER ROLE %I NOLOGIN', role) AS fix
FROM roles WHERE rolcanlogin AND kind IN ('owner', 'app')

-- name: rule_login_inherits
-- medium repair: A login has its owner's rights without becoming it: what it makes then belongs to the login.
SELECT tenant, role AS object, format('ALTER ROLE %I NOINHERIT', role) AS fix
FROM roles WHERE rolinherit AND kind IN ('login', 'reader')

-- name: rule_member_of_predefined
-- critical safe: A role of a tenant is a member of one of PostgreSQL's own, with rights over the whole server.
SELECT r.tenant, r.role || ' in ' || g.rolname AS object,
       format('REVOKE %I FROM %I%s CASCADE', g.rolname, r.role, m.granted_by) AS fix
FROM roles r JOIN memberships m ON m.member = r.oid JOIN pg_roles g ON g.oid = m.roleid
WHERE starts_with(g.rolname, 'pg_')

-- name: rule_member_of_other
-- critical safe: A role of a tenant is a member of a role that is not its own: another tenant's, or a stranger's.
SELECT r.tenant, r.role || ' in ' || g.rolname AS object,
       format('REVOKE %I FROM %I%s CASCADE', g.rolname, r.role, m.granted_by) AS fix
FROM roles r JOIN memberships m ON m.member = r.oid JOIN pg_roles g ON g.oid = m.roleid
WHERE NOT starts_with(g.rolname, 'pg_')
  AND NOT (r.kind IN ('owner', 'app') AND g.rolname = 'tenants~members')
  AND NOT (r.kind = 'login' AND g.rolname IN (r.tenant, r.tenant || '~app'))

-- name: rule_stranger_is_member
-- critical safe: A role that is not the tenant's own is a member of one of its roles, and can act as it.
SELECT r.tenant, g.rolname || ' in ' || r.role AS object,
       format('REVOKE %I FROM %I%s CASCADE', r.role, g.rolname, m.granted_by) AS fix
FROM roles r JOIN memberships m ON m.roleid = r.oid JOIN pg_roles g ON g.oid = m.member
WHERE NOT g.rolsuper AND g.rolname <> current_user
  AND g.oid <> (SELECT nspowner FROM pg_namespace WHERE nspname = 'tenants')  -- the admin, where a superuser looks
  AND NOT starts_with(g.rolname, coalesce(r.tenant, r.role) || '~')

-- name: rule_admin_is_member
-- high repair: The admin is no superuser, and lacks a membership that it takes to look after a tenant's role.
SELECT w.tenant, w.role AS object,
       format('GRANT %I TO %I WITH %s', w.role, current_user,
              CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'ADMIN OPTION'
                   WHEN w.admin THEN 'INHERIT TRUE, SET TRUE' ELSE 'ADMIN TRUE, INHERIT TRUE, SET TRUE' END) AS fix,
       CASE WHEN current_setting('server_version_num')::int >= 160000 AND NOT w.admin THEN 'a superuser' END AS needs
FROM (
    SELECT r.tenant, r.role, pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') AS admin,
           pg_has_role(r.oid, 'USAGE') AND EXISTS (
               SELECT FROM memberships m WHERE m.roleid = r.oid AND m.may_set
                                           AND m.member = (SELECT oid FROM pg_roles WHERE rolname = current_user)) AS acts
    FROM roles r
    UNION ALL
    SELECT NULL, rolname, pg_has_role(oid, 'MEMBER WITH ADMIN OPTION'), true FROM pg_roles WHERE rolname = 'tenants~members'
) w
WHERE current_setting('is_superuser') = 'off' AND NOT (w.admin AND w.acts)

-- name: rule_login_acts_as
-- high repair: A login does not become its tenant's role as its session begins.
SELECT l.tenant, l.role AS object,
       format('ALTER ROLE %I IN DATABASE %I SET role = %I', l.role, current_database(), l.acts_as) AS fix
FROM logins l
WHERE l.acts_as IS NOT NULL AND NOT coalesce(l.settings @> ARRAY['role=' || l.acts_as], false)

-- name: rule_login_search_path
-- high repair: A login's search_path is not its tenant's schema and the extensions: it was changed, or never set.
SELECT l.tenant, l.role AS object,
       format('ALTER ROLE %I IN DATABASE %I SET search_path = %I, extensions', l.role, current_database(), l.tenant) AS fix
FROM logins l
WHERE NOT coalesce(l.settings @> ARRAY['search_path=' || quote_ident(l.tenant) || ', extensions'], false)

-- name: rule_login_limits
-- medium repair: A login is without a limit that its tenant has, so one app can slow down all others.
SELECT l.tenant, l.role || ' ' || w.name AS object,
       format('ALTER ROLE %I IN DATABASE %I SET %s = %L', l.role, current_database(), w.name, w.value) AS fix,
       CASE WHEN w.name = 'temp_file_limit' AND current_setting('is_superuser') = 'off' THEN 'a superuser' END AS needs
FROM logins l
JOIN tenants.tenants t ON t.name = l.tenant
CROSS JOIN LATERAL (VALUES ('statement_timeout', t.statement_timeout), ('lock_timeout', t.lock_timeout),
                           ('idle_in_transaction_session_timeout', t.idle_timeout),
                           ('temp_file_limit', t.temp_file_limit)) AS w (name, value)
WHERE NOT coalesce(l.settings @> ARRAY[w.name || '=' || w.value], false)

-- name: rule_login_connections
-- medium repair: A login may open more connections than its tenant is to have, and take those of others.
SELECT l.tenant, l.role AS object, format('ALTER ROLE %I CONNECTION LIMIT %s', l.role, w.connections) AS fix
FROM logins l JOIN tenants.tenants t ON t.name = l.tenant
CROSS JOIN LATERAL (SELECT CASE l.kind WHEN 'reader' THEN least(t.connections, 10) ELSE t.connections END) AS w (connections)
WHERE l.rolconnlimit <> w.connections

-- name: rule_login_other_settings
-- low repair: A login has settings that nobody gave it but itself.
SELECT l.tenant, l.role || ' ' || s.name AS object,
       format('ALTER ROLE %I IN DATABASE %I RESET %I', l.role, current_database(), s.name) AS fix
FROM logins l CROSS JOIN LATERAL (SELECT split_part(u, '=', 1) AS name FROM unnest(l.settings) u) AS s
WHERE s.name NOT IN ('search_path', 'statement_timeout', 'lock_timeout', 'temp_file_limit',
                     'idle_in_transaction_session_timeout')
  AND s.name <> CASE l.kind WHEN 'reader' THEN 'default_transaction_read_only' ELSE 'role' END

-- name: rule_role_own_settings
-- medium repair: A role of a tenant has settings for all databases, which nobody gave it but itself.
SELECT r.tenant, r.role AS object, format('ALTER ROLE %I RESET ALL', r.role) AS fix
FROM roles r JOIN pg_db_role_setting s ON s.setrole = r.oid AND s.setdatabase = 0

-- name: rule_login_connect
-- high repair: A login may not connect to the database.
SELECT l.tenant, l.role AS object, format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), l.role) AS fix
FROM logins l WHERE NOT has_database_privilege(l.oid, current_database(), 'CONNECT')
  AND NOT EXISTS (SELECT FROM tenants.tenants t WHERE t.name = l.tenant AND t.suspended_at IS NOT NULL)

-- name: rule_login_member
-- high repair: A login is no member of the role that it is to become.
SELECT l.tenant, l.role AS object, format('GRANT %I TO %I', l.acts_as, l.role) AS fix
FROM logins l WHERE NOT pg_has_role(l.oid, l.acts_as, 'MEMBER')

-- name: rule_login_shut_out
-- high repair: A login of a tenant cannot log in, though nobody has suspended the tenant.
SELECT l.tenant, l.role AS object, format('ALTER ROLE %I LOGIN', l.role) AS fix
FROM logins l JOIN tenants.tenants t ON t.name = l.tenant
WHERE NOT l.rolcanlogin AND t.suspended_at IS NULL

-- name: rule_login_suspended
-- high repair: A login of a tenant that is suspended can still log in.
SELECT l.tenant, l.role AS object, format('ALTER ROLE %I NOLOGIN', l.role) AS fix
FROM logins l JOIN tenants.tenants t ON t.name = l.tenant
WHERE l.rolcanlogin AND t.suspended_at IS NOT NULL

-- name: rule_login_password
-- medium ask: A login has another password than the one it was given: it has changed it itself.
SELECT l.tenant, l.role AS object, NULL::text AS fix
FROM logins l JOIN pg_authid a ON a.oid = l.oid
WHERE l.verifier IS NOT NULL AND encode(sha256(coalesce(a.rolpassword, '')::bytea), 'hex') <> l.verifier

-- name: rule_owner_password
-- low repair: A role that never logs in has a password, which its tenant has set.
SELECT r.tenant, r.role AS object, format('ALTER ROLE %I PASSWORD NULL', r.role) AS fix
FROM roles r JOIN pg_authid a ON a.oid = r.oid
WHERE r.kind IN ('owner', 'app') AND a.rolpassword IS NOT NULL

-- name: rule_owner_in_group
-- medium repair: An owner is not in the group that may read the catalog's rows about it: its own deploys fail.
SELECT r.tenant, r.role AS object, format('GRANT %I TO %I', 'tenants~members', r.role) AS fix
FROM roles r WHERE r.kind = 'owner' AND NOT pg_has_role(r.oid, 'tenants~members', 'MEMBER')

-- name: rule_unknown_role
-- high ask: A role is named like one of a tenant's, and the catalog does not know it.
SELECT split_part(r.rolname, '~', 1) AS tenant, r.rolname::text AS object, NULL::text AS fix
FROM pg_roles r
WHERE strpos(r.rolname, '~') > 0 AND r.rolname !~ '~(deploy|connect|scratch)~' AND r.rolname <> 'tenants~members'
  AND r.rolname NOT IN (SELECT role FROM ours)
  AND r.rolname NOT IN (SELECT name || '~rehearsal' FROM tenants.tenants)

-- name: rule_deploy_role
-- high ask: A short-lived role is there, and nobody is at work with it: a run was killed. The next one removes it.
SELECT split_part(r.rolname, '~', 1) AS tenant, r.rolname::text AS object, NULL::text AS fix
FROM pg_roles r
WHERE strpos(r.rolname, '~deploy~') > 0
  AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE starts_with(a.application_name, 'tenants ')
                  AND strpos(a.usename, '~') = 0 AND a.pid <> pg_backend_pid())
UNION ALL
SELECT split_part(r.rolname, '~', 1), r.rolname::text, NULL
FROM pg_roles r
WHERE strpos(r.rolname, '~connect~') > 0
  AND NOT EXISTS (SELECT FROM pg_stat_activity a
                  WHERE strpos(a.usename, '~') = 0 AND a.application_name = left('tenants ' || r.rolname, 63))

-- name: rule_scratch
-- medium ask: A database in which a snapshot was tried out is left over: a run was killed. The next one removes it.
SELECT split_part(d.datname, '~', 1) AS tenant, d.datname::text AS object, format('DROP DATABASE %I WITH (FORCE)', d.datname) AS fix
FROM pg_database d
WHERE strpos(d.datname, '~scratch~') > 0
  AND NOT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename
                  WHERE starts_with(a.application_name, 'tenants ') AND strpos(r.rolname, '~') = 0 AND a.pid <> pg_backend_pid())

-- name: rule_public_ways_in
-- medium repair: A role has its way in through PUBLIC alone: before PUBLIC loses its reach, it is given the same by name.
-- That is so for logins, and for groups that a login can act as: those need all but the way into the database.
SELECT NULL::text AS tenant, format('%s: %s on %s', s.rolname, p.rights, t.object) AS object,
       format('GRANT %s ON %s TO %I', p.rights, t.target, s.rolname) AS fix
FROM open_to_all t
JOIN pg_roles s ON NOT s.rolsuper AND strpos(s.rolname, '~') = 0 AND NOT starts_with(s.rolname, 'pg_')
CROSS JOIN LATERAL (
    SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS rights
    FROM aclexplode(t.acl) a
    WHERE a.grantee = 0 AND (s.rolcanlogin OR a.privilege_type <> 'CONNECT')
      AND NOT EXISTS (SELECT FROM aclexplode(t.acl) b WHERE b.grantee <> 0 AND b.privilege_type = a.privilege_type
                      AND pg_has_role(s.oid, b.grantee, 'USAGE'))
) p
WHERE p.rights IS NOT NULL AND pg_has_role(t.owner, 'USAGE')
  AND s.rolname NOT IN (SELECT role FROM ours)
  AND (s.rolcanlogin OR EXISTS (
      SELECT FROM pg_roles l
      WHERE l.rolcanlogin AND NOT l.rolsuper AND strpos(l.rolname, '~') = 0 AND pg_has_role(l.oid, s.oid, 'MEMBER')))
ORDER BY t.object, s.rolname

-- name: rule_public_reach
-- high repair: PUBLIC, and so every login of the server, still reaches a database or the schema public.
SELECT NULL::text AS tenant, t.object, format('REVOKE ALL ON %s FROM PUBLIC', t.target) AS fix,
       CASE WHEN NOT pg_has_role(t.owner, 'USAGE') THEN pg_get_userbyid(t.owner) || ', who owns it, or a superuser' END AS needs
FROM open_to_all t
WHERE EXISTS (SELECT FROM aclexplode(t.acl) a WHERE a.grantee = 0)

-- name: rule_public_tables
-- medium ask: A table lies in schema public, where it belongs to nobody: `tenants adopt` gives it a tenant.
SELECT NULL::text AS tenant, format('public.%I', c.relname) AS object, NULL::text AS fix
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')

-- name: rule_database_create
-- critical safe: A role of a tenant may make schemas in the database, outside of its own.
SELECT r.tenant, r.role AS object, format('REVOKE CREATE ON DATABASE %I FROM %I', current_database(), r.role) AS fix
FROM roles r WHERE has_database_privilege(r.oid, current_database(), 'CREATE') AND NOT r.rolsuper

-- name: rule_schema_missing
-- critical ask: The catalog knows a tenant whose schema is gone: `tenants restore` brings it back.
SELECT t.name AS tenant, t.name AS object, NULL::text AS fix
FROM tenants.tenants t WHERE NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = t.name)

-- name: rule_schema_owner
-- high safe: A tenant's schema belongs to another role.
SELECT s.tenant, s.schema AS object, format('ALTER SCHEMA %I OWNER TO %I', s.schema, s.tenant) AS fix
FROM schemas s WHERE s.nspowner <> s.owner

-- name: rule_schema_grants
-- high safe: A role that is not the tenant's own may use its schema, or make things in it.
SELECT s.tenant, s.schema || ' to ' || coalesce(g.rolname, 'PUBLIC') AS object,
       format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', s.schema, coalesce(quote_ident(g.rolname), 'PUBLIC')) AS fix
FROM schemas s CROSS JOIN LATERAL aclexplode(s.nspacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE a.grantee <> s.owner
  AND NOT (coalesce(g.rolname, '') = s.tenant || '~app' AND a.privilege_type = 'USAGE')
  AND NOT (a.privilege_type = 'USAGE' AND EXISTS (
      SELECT FROM tenants.readers r WHERE r.role = g.rolname AND s.tenant = ANY (r.tenants)))
GROUP BY s.tenant, s.schema, g.rolname

-- name: rule_object_grants
-- high safe: Something in a tenant's schema is granted to PUBLIC or to a role that is not the tenant's own.
SELECT i.tenant, i.type || ' ' || i.identity || c.name || ' to ' || coalesce(g.rolname, 'PUBLIC') AS object,
       format('REVOKE ALL ON %s %s FROM %s CASCADE', i.grant_as, i.identity, coalesce(quote_ident(g.rolname), 'PUBLIC')) AS fix
FROM inside i
CROSS JOIN LATERAL (
    SELECT '' AS name, i.acl
    UNION ALL SELECT ' (' || attname || ')', attacl FROM pg_attribute
    WHERE i.classid = 'pg_class'::regclass AND attrelid = i.objid AND attacl IS NOT NULL AND NOT attisdropped
) c
CROSS JOIN LATERAL aclexplode(c.acl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE a.grantee <> i.owner
  AND coalesce(g.rolname, '') <> i.tenant || '~app'
  AND NOT (i.type IN ('function', 'type') AND a.grantee = 0)  -- PostgreSQL's default; the schema itself is closed
  AND NOT (a.privilege_type = 'SELECT' AND EXISTS (
      SELECT FROM tenants.readers r WHERE r.role = g.rolname AND i.tenant = ANY (r.tenants)))
GROUP BY i.tenant, i.type, i.grant_as, i.identity, c.name, g.rolname

-- name: rule_default_grants
-- high safe: What is made later in a tenant's name would be granted to PUBLIC or to a role that is not the tenant's own.
SELECT d.tenant,
       format('%s that %s makes%s, to %s', lower(w.what), o.rolname, coalesce(' in ' || n.nspname, ''),
              coalesce(g.rolname, 'PUBLIC')) AS object,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %s CASCADE', o.rolname,
              coalesce(' IN SCHEMA ' || quote_ident(n.nspname), ''), w.what, coalesce(quote_ident(g.rolname), 'PUBLIC')) AS fix
FROM (
    SELECT coalesce(r.tenant, s.tenant) AS tenant, p.*
    FROM pg_default_acl p LEFT JOIN roles r ON r.oid = p.defaclrole LEFT JOIN schemas s ON s.oid = p.defaclnamespace
) d
JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('f', 'FUNCTIONS'), ('T', 'TYPES'), ('n', 'SCHEMAS'), ('L', 'LARGE OBJECTS')
     ) AS w (kind, what) ON w.kind = d.defaclobjtype::text
JOIN pg_roles o ON o.oid = d.defaclrole
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE d.tenant IS NOT NULL AND a.grantee <> d.defaclrole
  AND coalesce(g.rolname, '') NOT IN (d.tenant, d.tenant || '~app')
  AND NOT (a.grantee = 0 AND d.defaclobjtype IN ('f', 'T'))  -- PostgreSQL's default; the schema itself is closed
  AND NOT (a.privilege_type = 'SELECT' AND d.defaclobjtype = 'r' AND EXISTS (
      SELECT FROM tenants.readers r WHERE r.role = g.rolname AND d.tenant = ANY (r.tenants)))
GROUP BY d.tenant, w.what, o.rolname, n.nspname, g.rolname

-- name: rule_object_owner
-- high safe: Something in a tenant's schema belongs to another role: the tenant's own dump cannot read it.
SELECT i.tenant, i.type || ' ' || i.identity AS object,
       format('ALTER %s %s OWNER TO %I', i.alter_as, i.identity, i.tenant) AS fix
FROM inside i
WHERE i.owned_by <> i.owner
  AND NOT EXISTS (  -- a sequence that belongs to a column has its table's owner, and takes no other; what makes values of
                    -- a range type is PostgreSQL's own
      SELECT FROM pg_depend d WHERE d.classid = i.classid AND d.objid = i.objid
      AND (i.type = 'sequence' AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
           OR i.type = 'function' AND d.refclassid = 'pg_type'::regclass AND d.deptype = 'i'))

-- name: rule_object_outside
-- high ask: Something belongs to a tenant and lies outside of its schema: no snapshot has it.
SELECT r.tenant, found.type || ' ' || found.identity AS object, NULL::text AS fix
FROM pg_shdepend d
JOIN roles r ON r.oid = d.refobjid
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS found
WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
  AND found.type IS NOT NULL AND found.type <> 'large object'
  AND NOT (d.classid = 'pg_namespace'::regclass AND d.objid IN (
      SELECT oid FROM pg_namespace WHERE nspname = r.tenant OR starts_with(nspname, r.tenant || '~before~')))
  AND coalesce(found.schema, '') NOT IN (
      SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname = r.tenant OR starts_with(nspname, r.tenant || '~before~'))
  AND coalesce(found.schema, '') !~ '^pg_(toast_)?temp'
  AND found.type <> 'default acl'

-- name: rule_large_objects
-- medium ask: A tenant has large objects, which lie outside of every schema: no snapshot has them.
SELECT r.tenant, count(*) || ' large objects' AS object, NULL::text AS fix
FROM pg_largeobject_metadata l JOIN roles r ON r.oid = l.lomowner GROUP BY r.tenant

-- name: rule_view_crosses
-- high ask: A view or a rule of a tenant reads from outside of its schema.
SELECT s.tenant, format('%I.%I reads %s', s.schema, v.relname, x.target) AS object, NULL::text AS fix
FROM schemas s
JOIN pg_class v ON v.relnamespace = s.oid
JOIN pg_rewrite w ON w.ev_class = v.oid
CROSS JOIN LATERAL (
    SELECT DISTINCT d.refobjid::regclass::text AS target
    FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
      AND c.relnamespace <> s.oid
      AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema', 'extensions'))
) x

-- name: rule_view_on_tenant
-- high ask: A view or a rule outside of a tenant's schema reads from it.
SELECT s.tenant, format('%I.%I reads %I.%I', n.nspname, v.relname, s.schema, c.relname) AS object, NULL::text AS fix
FROM schemas s
JOIN pg_class c ON c.relnamespace = s.oid
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite w ON w.oid = d.objid
JOIN pg_class v ON v.oid = w.ev_class AND v.relnamespace <> s.oid
JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE NOT starts_with(n.nspname, s.tenant || '~before~')
  AND NOT EXISTS (SELECT FROM tenants.adopted a WHERE a.tenant = s.tenant AND a.bridge
                  AND a.source = n.nspname AND a.rest = quote_ident(v.relname))
GROUP BY s.tenant, s.schema, n.nspname, v.relname, c.relname

-- name: rule_bridge
-- medium ask: What stands in the place of adopted tables is a week old: the app ought to have its own login by now.
SELECT a.tenant, format('%I.%s', a.source, a.rest) AS object, NULL::text AS fix
FROM tenants.adopted a WHERE a.bridge AND a.adopted_at < now() - interval '7 days'

-- name: rule_foreign_key_crosses
-- high ask: A foreign key crosses the border of a tenant's schema: neither side can be restored alone.
SELECT s.tenant, format('%s on %s refers to %s', k.conname, k.conrelid::regclass, k.confrelid::regclass) AS object,
       NULL::text AS fix
FROM schemas s
JOIN pg_class c ON c.relnamespace = s.oid
JOIN pg_constraint k ON k.contype = 'f' AND c.oid IN (k.conrelid, k.confrelid)
JOIN pg_class a ON a.oid = k.conrelid
JOIN pg_class b ON b.oid = k.confrelid
WHERE a.relnamespace <> b.relnamespace AND k.conparentid = 0
  AND NOT EXISTS (SELECT FROM pg_namespace n WHERE n.oid IN (a.relnamespace, b.relnamespace) AND starts_with(n.nspname, s.tenant || '~before~'))

-- name: rule_trigger_crosses
-- high ask: A trigger on a tenant's table calls a function that lies outside of its schema.
SELECT s.tenant, format('%s on %s calls %s', g.tgname, g.tgrelid::regclass, g.tgfoid::regprocedure) AS object, NULL::text AS fix
FROM schemas s
JOIN pg_class c ON c.relnamespace = s.oid
JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal
JOIN pg_proc f ON f.oid = g.tgfoid
JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE f.pronamespace <> s.oid AND n.nspname NOT IN ('pg_catalog', 'extensions')

-- name: rule_function_crosses
-- medium ask: A function, default or constraint of a tenant uses a function or type of another schema.
SELECT s.tenant, f.identity || ' uses ' || x.identity AS object, NULL::text AS fix
FROM schemas s
JOIN pg_proc p ON p.pronamespace = s.oid
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                AND d.refclassid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_class'::regclass)
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) f
CROSS JOIN LATERAL pg_identify_object(d.refclassid, d.refobjid, 0) x
WHERE x.schema IS NOT NULL AND x.schema NOT IN (quote_ident(s.schema), 'pg_catalog', 'information_schema', 'extensions')

-- name: rule_security_definer
-- high ask: A SECURITY DEFINER function of a tenant has no search_path of its own: who calls it can make it run other code.
SELECT s.tenant, p.oid::regprocedure::text AS object,
       format('ALTER FUNCTION %s SET search_path = %I, pg_temp', p.oid::regprocedure, s.schema) AS fix
FROM schemas s JOIN pg_proc p ON p.pronamespace = s.oid
WHERE p.prosecdef AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE starts_with(c, 'search_path='))

-- name: rule_extension_inside
-- medium ask: An extension lies in a tenant's schema: pg_dump leaves it out, and a restore cannot make it anew.
SELECT s.tenant, e.extname::text AS object, format('ALTER EXTENSION %I SET SCHEMA extensions', e.extname) AS fix
FROM schemas s JOIN pg_extension e ON e.extnamespace = s.oid

-- name: rule_extensions_open
-- high safe: A tenant may make things in the schema that all tenants have in their search_path.
SELECT r.tenant, r.role AS object, format('REVOKE CREATE ON SCHEMA extensions FROM %I', r.role) AS fix
FROM roles r JOIN pg_namespace n ON n.nspname = 'extensions'
WHERE has_schema_privilege(r.oid, n.oid, 'CREATE') AND NOT r.rolsuper

-- name: rule_force_rls
-- high ask: A table forces row level security on its owner: the tenant's own dump cannot read it, and no snapshot is made.
SELECT s.tenant, format('%I.%I', s.schema, c.relname) AS object,
       format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY', s.schema, c.relname) AS fix
FROM schemas s JOIN pg_class c ON c.relnamespace = s.oid WHERE c.relforcerowsecurity

-- name: rule_unlogged
-- low ask: A table is not logged: it is empty after a crash of the server.
SELECT s.tenant, format('%I.%I', s.schema, c.relname) AS object, format('ALTER TABLE %I.%I SET LOGGED', s.schema, c.relname) AS fix
FROM schemas s JOIN pg_class c ON c.relnamespace = s.oid WHERE c.relpersistence = 'u' AND c.relkind = 'r'

-- name: rule_index_invalid
-- medium ask: An index is invalid: a CREATE INDEX CONCURRENTLY was broken off. It costs writes and helps no query.
SELECT s.tenant, format('%I.%I', s.schema, c.relname) AS object, format('DROP INDEX %I.%I', s.schema, c.relname) AS fix
FROM schemas s JOIN pg_class c ON c.relnamespace = s.oid JOIN pg_index i ON i.indexrelid = c.oid
WHERE NOT i.indisvalid AND c.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)

-- name: rule_prepared_transaction
-- high ask: A tenant has left a prepared transaction: it holds its locks, and keeps the whole server from cleaning up.
SELECT t.name AS tenant, p.gid AS object, format('ROLLBACK PREPARED %L', p.gid) AS fix
FROM pg_prepared_xacts p
LEFT JOIN tenants.tenants t ON p.owner = t.name OR starts_with(p.owner, t.name || '~')
WHERE p.database = current_database() AND (t.name IS NOT NULL OR p.owner IS NULL)  -- that of a deploy role that is gone

-- name: rule_advisory_lock
-- medium ask: A tenant's session holds a lock that is this program's: it keeps deploys waiting.
-- What a session calls itself is believed of a tenant's own lock alone, which keeps nobody else waiting.
SELECT DISTINCT r.tenant, format('pid %s of %s', a.pid, r.role) AS object,
       format('SELECT pg_terminate_backend(%s)', a.pid) AS fix
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
JOIN roles r ON r.oid = a.usesysid
JOIN (SELECT tenant, (('x' || encode(substr(sha256(('dokku-tenants ' || name)::bytea), 1, 8), 'hex'))::bit(64) >> 1)::bigint AS key
      FROM (SELECT t.name AS tenant, w.what || ' ' || t.name AS name
            FROM tenants.tenants t CROSS JOIN (VALUES ('tenant'), ('migrates')) AS w (what)
            UNION ALL VALUES (NULL, 'roles'), (NULL, 'nightly')) AS ours
     ) k ON k.key = (l.classid::bigint << 32) | l.objid::bigint
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND NOT (k.tenant IS NOT DISTINCT FROM r.tenant AND starts_with(a.application_name, 'tenants '))

-- name: rule_lock_crosses
-- high ask: A tenant's session holds a lock on a table of another tenant, whose migrations wait for it.
-- It takes no privilege: pg_get_viewdef locks what a view reads until its transaction ends.
SELECT r.tenant, format('pid %s of %s on %I.%I', a.pid, r.role, s.schema, c.relname) AS object,
       format('SELECT pg_terminate_backend(%s)', a.pid) AS fix
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
JOIN roles r ON r.oid = a.usesysid
JOIN pg_class c ON c.oid = l.relation
JOIN schemas s ON s.oid = c.relnamespace
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND s.tenant <> r.tenant

-- name: rule_many_locks
-- high ask: A tenant's session holds a thousand locks or more: the server has room for some ten thousand, for all.
SELECT r.tenant, format('pid %s of %s: %s locks', a.pid, r.role, count(*)) AS object,
       format('SELECT pg_terminate_backend(%s)', a.pid) AS fix
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN roles r ON r.oid = a.usesysid
WHERE NOT l.fastpath
GROUP BY r.tenant, a.pid, r.role HAVING count(*) >= 1000

-- name: rule_notifications
-- high ask: The queue of NOTIFY fills up behind a tenant's open transaction; when it is full, nobody's NOTIFY works.
SELECT r.tenant, format('pid %s of %s', a.pid, r.role) AS object, format('SELECT pg_terminate_backend(%s)', a.pid) AS fix
FROM pg_stat_activity a JOIN roles r ON r.oid = a.usesysid
WHERE pg_notification_queue_usage() > 0.1 AND a.xact_start < now() - interval '1 minute'

-- name: rule_long_transaction
-- medium ask: A tenant's session has had a transaction open for an hour: it keeps the whole server from cleaning up.
-- One that hands its snapshot on, from transaction to transaction, is known by the age of it.
SELECT r.tenant, format('pid %s of %s', a.pid, r.role) AS object, format('SELECT pg_terminate_backend(%s)', a.pid) AS fix
FROM pg_stat_activity a JOIN roles r ON r.oid = a.usesysid
WHERE a.xact_start < now() - interval '1 hour' OR age(a.backend_xmin) > 10000000

-- name: rule_size
-- medium ask: A tenant holds more than it is wanted to, and takes the disk from all others.
SELECT z.tenant, pg_size_pretty(z.bytes) || ' of ' || t.size AS object, NULL::text AS fix
FROM sizes z JOIN tenants.tenants t ON t.name = z.tenant
WHERE z.bytes > pg_size_bytes(t.size)

-- name: rule_record_rate
-- medium ask: A tenant writes as many records as it is let: no app deploys so often. Look at who has its login.
SELECT w.tenant, w.count || ' ' || w.what || ' within the hour' AS object, NULL::text AS fix
FROM tenants.written w JOIN tenants.tenants t ON t.name = w.tenant
WHERE w.hour >= floor(extract(epoch FROM now()) / 3600) - 1 AND w.count >= 60

-- name: rule_objects
-- medium ask: A tenant holds more objects than it is wanted to: commands and snapshots of all take longer for it.
SELECT n.tenant, n.count || ' of ' || t.objects || ' objects' AS object, NULL::text AS fix
FROM tenants.tenants t
JOIN LATERAL (
    WITH held AS MATERIALIZED (
        SELECT d.classid, d.objid FROM pg_namespace n
        JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
        WHERE n.nspname = t.name OR starts_with(n.nspname, t.name || '~before~')
        UNION ALL
        SELECT 'pg_class'::regclass, d.objid FROM pg_shdepend d
        JOIN pg_roles r ON r.oid = d.refobjid AND r.rolname IN (t.name, t.name || '~app')
        JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace AND starts_with(n.nspname, 'pg_temp_')
        WHERE d.refclassid = 'pg_authid'::regclass AND d.classid = 'pg_class'::regclass AND d.deptype = 'o'
          AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    ), tables AS MATERIALIZED (SELECT objid FROM held WHERE classid = 'pg_class'::regclass)
    SELECT t.name AS tenant, sum(part.count) AS count FROM (
        SELECT count(*) FROM held
        UNION ALL SELECT count(*) FROM pg_index WHERE indrelid IN (SELECT objid FROM tables)
        UNION ALL SELECT count(*) FROM pg_constraint WHERE conrelid IN (SELECT objid FROM tables) AND contype IN ('c', 'f', 'x')
        UNION ALL SELECT count(*) FROM pg_trigger WHERE tgrelid IN (SELECT objid FROM tables) AND NOT tgisinternal
        UNION ALL SELECT count(*) FROM pg_policy WHERE polrelid IN (SELECT objid FROM tables)
    ) part
) n ON n.count > t.objects

-- name: rule_no_proof
-- medium ask: For eight days no drill has restored a snapshot of a tenant: that its snapshots restore is a hope.
SELECT s.tenant, coalesce('the last proof is of ' || to_char(p.last, 'YYYY-MM-DD HH24:MI'), 'none at all') AS object,
       NULL::text AS fix
FROM schemas s
CROSS JOIN LATERAL (SELECT max(p.proven_at) AS last, min(p.created_at) AS first FROM tenants.snapshots p
                    WHERE p.tenant = s.tenant AND p.created_at < now() + interval '5 minutes') p
WHERE coalesce(p.last, p.first) < now() - interval '8 days'

-- name: rule_no_snapshot
-- high ask: A tenant that has held something for 36 hours has no verified snapshot of that time.
SELECT s.tenant, coalesce('the last one is of ' || to_char(p.last, 'YYYY-MM-DD HH24:MI'), 'none at all') AS object,
       NULL::text AS fix
FROM schemas s
JOIN tenants.tenants t ON t.name = s.tenant
CROSS JOIN LATERAL (SELECT max(p.created_at) AS last FROM tenants.snapshots p
                    WHERE p.tenant = s.tenant AND p.created_at < now() + interval '5 minutes') p
CROSS JOIN LATERAL (SELECT min(d.recorded_at) AS first FROM tenants.deploys d
                    WHERE d.tenant = s.tenant AND d.outcome = 'migrated' AND d.recorded_at >= t.created_at) d
WHERE EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'm'))
  AND coalesce(p.last, d.first, t.created_at) < now() - interval '36 hours'

-- name: rule_app_grants
-- high repair: The app's own role may not read and write every table of its tenant.
SELECT s.tenant, format('%I.%I', s.schema, c.relname) AS object,
       CASE c.relkind WHEN 'S' THEN format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %I.%I TO %I', s.schema, c.relname, r.role)
                      ELSE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', s.schema, c.relname, r.role) END AS fix
FROM schemas s
JOIN roles r ON r.tenant = s.tenant AND r.kind = 'app'
JOIN pg_class c ON c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relname <> 'alembic_version'
WHERE CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(r.oid, c.oid, 'USAGE')
                     ELSE NOT (has_table_privilege(r.oid, c.oid, 'SELECT') AND has_table_privilege(r.oid, c.oid, 'INSERT')
                               AND has_table_privilege(r.oid, c.oid, 'UPDATE') AND has_table_privilege(r.oid, c.oid, 'DELETE')) END
UNION ALL
SELECT s.tenant, s.schema, format('GRANT USAGE ON SCHEMA %I TO %I', s.schema, r.role)
FROM schemas s JOIN roles r ON r.tenant = s.tenant AND r.kind = 'app'
WHERE NOT has_schema_privilege(r.oid, s.oid, 'USAGE')

-- name: rule_app_defaults
-- high repair: What migrations make later would be closed to the app's own role.
SELECT s.tenant, w.what AS object,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT %s TO %I', s.tenant, s.schema, w.what, r.role) AS fix
FROM schemas s
JOIN roles r ON r.tenant = s.tenant AND r.kind = 'app'
CROSS JOIN (VALUES ('r', 'SELECT, INSERT, UPDATE, DELETE ON TABLES'), ('S', 'USAGE, SELECT, UPDATE ON SEQUENCES')) AS w (kind, what)
WHERE NOT EXISTS (
    SELECT FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a
    WHERE d.defaclrole = s.owner AND d.defaclnamespace = s.oid AND d.defaclobjtype = w.kind AND a.grantee = r.oid)

-- name: rule_app_too_much
-- high repair: The app's own role may change more than rows.
SELECT s.tenant, s.schema AS object, format('REVOKE CREATE ON SCHEMA %I FROM %I', s.schema, r.role) AS fix
FROM schemas s JOIN roles r ON r.tenant = s.tenant AND r.kind = 'app' WHERE has_schema_privilege(r.oid, s.oid, 'CREATE')
UNION ALL
SELECT s.tenant, format('%I.alembic_version', s.schema),
       format('REVOKE INSERT, UPDATE, DELETE ON %I.alembic_version FROM %I', s.schema, r.role)
FROM schemas s
JOIN roles r ON r.tenant = s.tenant AND r.kind = 'app'
JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = 'alembic_version'
WHERE has_table_privilege(r.oid, c.oid, 'DELETE') OR has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE')

-- name: rule_reader_shared
-- high ask: A read-only login reaches several tenants: code of one of them runs in its sessions and reads the others.
-- The command that is shown makes a login for each tenant, and drops this one.
SELECT t.name AS tenant,
       format('%s reads %s. Next: tenants reader %s --of %s', k.role, array_to_string(k.tenants, ', '),
              regexp_replace(k.role, '~reader$', ''), array_to_string(k.tenants, ',')) AS object,
       NULL::text AS fix
FROM tenants.readers k JOIN roles r ON r.role = k.role JOIN tenants.tenants t ON t.name = ANY (k.tenants)
WHERE cardinality(k.tenants) > 1

-- name: rule_reader_writes
-- medium repair: Transactions of a read-only login do not begin as read-only.
SELECT l.tenant, l.role AS object,
       format('ALTER ROLE %I IN DATABASE %I SET default_transaction_read_only = on', l.role, current_database()) AS fix
FROM logins l
WHERE l.kind = 'reader' AND NOT coalesce(l.settings @> ARRAY['default_transaction_read_only=on'], false)

-- name: rule_reader_grants
-- medium repair: A read-only login cannot read everything of its tenant.
-- A login that reads several tenants gets plain tables alone: views and policies run code of their tenant.
SELECT s.tenant, format('%I.%I', s.schema, c.relname) || ' for ' || r.role AS object,
       format('GRANT SELECT ON %I.%I TO %I', s.schema, c.relname, r.role) AS fix
FROM schemas s
JOIN tenants.readers k ON s.tenant = ANY (k.tenants)
JOIN roles r ON r.role = k.role
JOIN pg_class c ON c.relnamespace = s.oid
    AND (c.relkind IN ('r', 'p', 'm') AND NOT c.relrowsecurity
         OR c.relkind IN ('r', 'p', 'm', 'v', 'f') AND cardinality(k.tenants) = 1)
WHERE NOT has_table_privilege(r.oid, c.oid, 'SELECT')
UNION ALL
SELECT s.tenant, s.schema || ' for ' || r.role, format('GRANT USAGE ON SCHEMA %I TO %I', s.schema, r.role)
FROM schemas s JOIN tenants.readers k ON s.tenant = ANY (k.tenants) JOIN roles r ON r.role = k.role
WHERE NOT has_schema_privilege(r.oid, s.oid, 'USAGE')

-- name: rule_reader_views
-- high safe: A login that reads several tenants reads a view, or a table with policies: they run a tenant's code.
SELECT s.tenant, format('%I.%I for %s', s.schema, c.relname, r.role) AS object,
       format('REVOKE ALL ON %I.%I FROM %I', s.schema, c.relname, r.role) AS fix
FROM schemas s
JOIN tenants.readers k ON s.tenant = ANY (k.tenants) AND cardinality(k.tenants) > 1
JOIN roles r ON r.role = k.role
JOIN pg_class c ON c.relnamespace = s.oid AND (c.relkind IN ('v', 'f') OR c.relrowsecurity)
WHERE has_any_column_privilege(r.oid, c.oid, 'SELECT')

-- name: rule_extensions_usable
-- medium repair: A role of a tenant may not use the schema of extensions, which is in its search_path.
SELECT r.tenant, r.role AS object, format('GRANT USAGE ON SCHEMA extensions TO %I', r.role) AS fix
FROM roles r JOIN pg_namespace n ON n.nspname = 'extensions'
WHERE (r.kind IN ('owner', 'app') OR r.kind = 'reader' AND r.tenant IS NOT NULL)
  AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE')

-- name: status
-- Of each tenant what somebody looks at in the morning. No rule; it has their beginning.
SELECT t.name AS tenant, t.suspended_at, coalesce(z.bytes, 0)::bigint AS bytes, p.snapshot_at, p.proven_at,
       t.created_at, d.kind, d.outcome, d.recorded_at, d.live_at, d.git_rev,
       newest.bytes - day.bytes AS grown_day, newest.bytes - week.bytes AS grown_week
FROM tenants.tenants t
LEFT JOIN sizes z ON z.tenant = t.name
CROSS JOIN LATERAL (SELECT max(p.created_at) AS snapshot_at, max(p.proven_at) AS proven_at FROM tenants.snapshots p
                    WHERE p.tenant = t.name AND p.created_at < now() + interval '5 minutes') p  -- a date to come is no date
LEFT JOIN LATERAL (SELECT s.created_at, s.bytes::numeric FROM tenants.snapshots s
                   WHERE s.tenant = t.name AND s.created_at < now() + interval '5 minutes'
                   ORDER BY s.created_at DESC LIMIT 1) newest ON true
LEFT JOIN LATERAL (SELECT s.bytes FROM tenants.snapshots s
                   WHERE s.tenant = t.name AND s.created_at <= newest.created_at - interval '18 hours'
                   ORDER BY s.created_at DESC LIMIT 1) day ON true  -- that of the night before, at whatever hour this is
LEFT JOIN LATERAL (SELECT s.bytes FROM tenants.snapshots s
                   WHERE s.tenant = t.name AND s.created_at <= newest.created_at - interval '162 hours'
                   ORDER BY s.created_at DESC LIMIT 1) week ON true
LEFT JOIN LATERAL (SELECT * FROM tenants.deploys d WHERE d.tenant = t.name ORDER BY d.recorded_at DESC LIMIT 1) d ON true
ORDER BY t.name
