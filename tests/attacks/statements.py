"""Statements: what one tenant may say to the server, in its app, in a session of its own or in a revision.

The attacker is the tenant `fruits`, its neighbour is `apples`. Each is tried as the session begins, and after each way
to shed the role that it was given.
"""

from __future__ import annotations

from attacks.model import OWNERS, SESSIONS, Attack, Group

_SCHEMA = "PostgreSQL: the schema is closed to others"
_OWNER = "PostgreSQL: only the owner may"
_MEMBER = "a tenant's roles are members of nothing else"
_ROLE = "no role of a tenant has CREATEROLE or ADMIN"
_SUPER = "PostgreSQL: only a superuser may"
_CREATE = "no role of a tenant has CREATE on the database"
_FILES = "PostgreSQL: only members of `pg_…_server_…` may"
_CATALOG = "the catalog's grants and row level security"
_WRITES = "a tenant writes through functions that check size, kind and date, and count"
_MONITOR = "PostgreSQL: only members of that role may"
_CLOSED = "nothing is granted to PUBLIC"

NEIGHBOUR = Group(
    "What belongs to another tenant",
    (
        Attack("read-rows", "Read a table of a neighbour", "TABLE apples.items", _SCHEMA),
        Attack("copy-rows", "Copy a table of a neighbour out", "COPY apples.items TO STDOUT", _SCHEMA, ways=SESSIONS),
        Attack(
            "read-through-xml",
            "Have the server read a neighbour's table for XML",
            "SELECT query_to_xml('TABLE apples.items', true, false, '')",
            _SCHEMA,
        ),
        Attack(
            "read-through-text-search",
            "Have text search read a neighbour's table",
            "SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM apples.items')",
            _SCHEMA,
        ),
        Attack("explain", "Learn rows and plans through EXPLAIN", "EXPLAIN ANALYZE TABLE apples.items", _SCHEMA),
        Attack("read-view", "Read through a neighbour's view", "TABLE apples.seen", _SCHEMA),
        Attack("write-rows", "Write rows", "INSERT INTO apples.items VALUES ('loot')", _SCHEMA),
        Attack("update-rows", "Change rows", "UPDATE apples.items SET name = 'loot'", _SCHEMA),
        Attack("delete-rows", "Delete rows", "DELETE FROM apples.items", _SCHEMA),
        Attack("truncate", "Empty a table", "TRUNCATE apples.items", _SCHEMA),
        Attack("lock-table", "Lock a table", "DO $$BEGIN LOCK TABLE apples.items IN ACCESS SHARE MODE; END$$", _SCHEMA),
        Attack("drop-table", "Drop a table", "DROP TABLE apples.items CASCADE", _SCHEMA),
        Attack("alter-table", "Change a table", "ALTER TABLE apples.items ADD COLUMN loot int", _SCHEMA),
        Attack("rename-table", "Rename a table", "ALTER TABLE apples.items RENAME TO loot", _SCHEMA),
        Attack(
            "move-table", "Move a table into one's own schema", "ALTER TABLE apples.items SET SCHEMA fruits", _SCHEMA
        ),
        Attack("own-table", "Take a table over", "ALTER TABLE apples.items OWNER TO fruits", _SCHEMA),
        Attack("grant-table", "Grant oneself a table", "GRANT SELECT ON apples.items TO fruits", _SCHEMA),
        Attack("grant-schema", "Grant oneself a schema", "GRANT USAGE ON SCHEMA apples TO fruits", _OWNER),
        Attack(
            "grant-schema-all",
            "Grant oneself all tables of a schema",
            "GRANT ALL ON ALL TABLES IN SCHEMA apples TO PUBLIC",
            _SCHEMA,
        ),
        Attack("create-inside", "Make a table in a neighbour's schema", "CREATE TABLE apples.loot (x int)", _SCHEMA),
        Attack("rename-schema", "Rename a neighbour's schema", "ALTER SCHEMA apples RENAME TO loot", _OWNER),
        Attack("drop-schema", "Drop a neighbour's schema", "DROP SCHEMA apples CASCADE", _OWNER),
        Attack(
            "trigger-on",
            "Put a trigger on a neighbour's table",
            "CREATE TRIGGER loot BEFORE INSERT ON apples.items EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            _SCHEMA,
        ),
        Attack(
            "rule-on",
            "Put a rule on a neighbour's table",
            "CREATE RULE loot AS ON INSERT TO apples.items DO ALSO NOTHING",
            _SCHEMA,
        ),
        Attack("policy-on", "Put a policy on a neighbour's table", "CREATE POLICY loot ON apples.items", _SCHEMA),
        Attack("index-on", "Put an index on a neighbour's table", "CREATE INDEX ON apples.items (name)", _SCHEMA),
        Attack("comment-on", "Comment on a neighbour's table", "COMMENT ON TABLE apples.items IS 'loot'", _SCHEMA),
        Attack(
            "reference",
            "Refer to a neighbour's rows, so that they cannot be deleted",
            "CREATE TEMPORARY TABLE loot (name text REFERENCES apples.items)",
            _SCHEMA,
            expects=("42501", "42P16"),  # of a temporary table it is refused before the schema is looked at
        ),
        Attack(
            "inherit",
            "Inherit from a neighbour's table, to be read in its queries",
            "CREATE TABLE fruits.loot () INHERITS (apples.items)",
            _SCHEMA,
        ),
        Attack(
            "view-over",
            "Make a view over a neighbour's table",
            "CREATE VIEW fruits.loot AS TABLE apples.items",
            _SCHEMA,
        ),
        Attack("sequence", "Use up a neighbour's sequence", "SELECT nextval('apples.numbers')", _SCHEMA),
        Attack("setval", "Set a neighbour's sequence back", "SELECT setval('apples.numbers', 1)", _SCHEMA),
        Attack("call", "Call a neighbour's SECURITY DEFINER function", "SELECT apples.secret()", _SCHEMA),
        Attack(
            "call-as-operator",
            "Call a neighbour's function through an operator",
            "CREATE OPERATOR fruits.!! (RIGHTARG = int, FUNCTION = apples.same)",
            _SCHEMA,
        ),
        Attack("type", "Use a neighbour's type", "SELECT NULL::apples.colour", _SCHEMA),
        Attack("refresh", "Refresh a neighbour's materialized view", "REFRESH MATERIALIZED VIEW apples.kept", _SCHEMA),
        Attack("reindex", "Rebuild, and so lock, a neighbour's indexes", "REINDEX TABLE apples.items", _SCHEMA),
        Attack("cluster", "Rewrite a neighbour's table", "CLUSTER apples.items", _SCHEMA, ways=SESSIONS),
        Attack("vacuum", "Vacuum a neighbour's table", "VACUUM FULL apples.items", _SCHEMA, ways=SESSIONS),
        Attack("reassign", "Take over all that a neighbour owns", "REASSIGN OWNED BY apples TO fruits", _MEMBER),
        Attack("drop-owned", "Drop all that a neighbour owns", "DROP OWNED BY apples CASCADE", _MEMBER),
        Attack(
            "default-privileges",
            "Be granted what a neighbour makes later",
            "ALTER DEFAULT PRIVILEGES FOR ROLE apples GRANT SELECT ON TABLES TO fruits",
            _MEMBER,
        ),
        Attack(
            "large-object-read",
            "Read a neighbour's large object",
            "SELECT lo_get(oid) FROM pg_largeobject_metadata WHERE lomowner = 'apples'::regrole",
            "PostgreSQL: only the owner may",
        ),
        Attack(
            "large-object-drop",
            "Drop a neighbour's large object",
            "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE lomowner = 'apples'::regrole",
            "PostgreSQL: only the owner may",
        ),
        Attack("large-objects-all", "Read the table of all large objects", "TABLE pg_largeobject", _SUPER),
        Attack(
            "large-object-switch", "Switch the privileges on large objects off", "SET lo_compat_privileges = on", _SUPER
        ),
        Attack("statistics-raw", "Read what ANALYZE noted of all columns", "TABLE pg_statistic", _SUPER),
        Attack(
            "statistics",
            "Read a neighbour's most common values",
            "SELECT count(*) FROM pg_stats WHERE schemaname = 'apples'",
            "the view pg_stats shows columns that one may read",
            outcome="harmless",
            answers="0",
        ),
        Attack(
            "statistics-extended",
            "Read a neighbour's extended statistics",
            "SELECT count(*) FROM pg_stats_ext WHERE schemaname = 'apples'",
            "the view pg_stats_ext shows tables that one owns",
            outcome="harmless",
            answers="0",
        ),
    ),
)

ROLES = Group(
    "Becoming somebody else",
    (
        Attack("set-role", "Become a neighbour", "SET ROLE apples", _MEMBER),
        Attack("set-role-admin", "Become the superuser", "SET ROLE postgres", _MEMBER),
        Attack(
            "set-role-group", "Become the group of all tenants", 'SET ROLE "tenants~members"', _MEMBER, ways=("app",)
        ),
        Attack("session-user", "Change the session's user to a neighbour", "SET SESSION AUTHORIZATION apples", _SUPER),
        Attack(
            "session-superuser",
            "Change the session's user to the superuser",
            "SET SESSION AUTHORIZATION postgres",
            _SUPER,
        ),
        Attack("superuser", "Make oneself superuser", "ALTER ROLE fruits SUPERUSER", _ROLE),
        Attack("login", "Let the owner log in, past the limits of its logins", "ALTER ROLE fruits LOGIN", _ROLE),
        Attack("bypass", "Pass by row level security", "ALTER ROLE SESSION_USER BYPASSRLS", _ROLE),
        Attack("createrole", "Give oneself CREATEROLE", "ALTER ROLE SESSION_USER CREATEROLE", _ROLE),
        Attack("createdb", "Give oneself CREATEDB", "ALTER ROLE CURRENT_USER CREATEDB", _ROLE),
        Attack("replicate", "Give oneself REPLICATION", "ALTER ROLE SESSION_USER REPLICATION", _ROLE),
        Attack("connections", "Lift the limit of connections", "ALTER ROLE SESSION_USER CONNECTION LIMIT -1", _ROLE),
        Attack("for-ever", "Let a deploy role live for ever", "ALTER ROLE SESSION_USER VALID UNTIL 'infinity'", _ROLE),
        Attack("inherit-rights", "Let a login inherit", "ALTER ROLE SESSION_USER INHERIT", _ROLE),
        Attack("password", "Change a neighbour's password", "ALTER ROLE apples PASSWORD 'x'", _ROLE),
        Attack("settings", "Change a neighbour's settings", "ALTER ROLE apples SET search_path = fruits", _ROLE),
        Attack("settings-all", "Change the settings of all", "ALTER ROLE ALL SET search_path = fruits", _SUPER),
        Attack("rename-role", "Rename a neighbour's role", "ALTER ROLE apples RENAME TO loot", _ROLE),
        Attack("drop-role", "Drop a neighbour's role", "DROP ROLE apples", _ROLE),
        Attack("create-role", "Make a role", "CREATE ROLE loot LOGIN", _ROLE),
        Attack("join", "Join a neighbour", "GRANT apples TO fruits", _ROLE),
        Attack("let-in", "Let a neighbour's role in, with the admin's name on it", "GRANT fruits TO apples", _ROLE),
        Attack("join-readers", "Join the role that reads everything", "GRANT pg_read_all_data TO SESSION_USER", _ROLE),
        Attack(
            "join-programs",
            "Join the role that starts programs",
            "GRANT pg_execute_server_program TO SESSION_USER",
            _ROLE,
        ),
        Attack("join-group", "Put a login into the group", 'GRANT "tenants~members" TO SESSION_USER', _ROLE),
        Attack(
            "admin-option", "Take the ADMIN option of oneself", "GRANT fruits TO SESSION_USER WITH ADMIN OPTION", _ROLE
        ),
        Attack("passwords", "Read the passwords of all roles", "SELECT rolpassword FROM pg_authid", _SUPER),
        Attack("passwords-view", "Read the passwords of all logins", "SELECT passwd FROM pg_shadow", _SUPER),
    ),
)

SERVER = Group(
    "The server: files, programs, settings",
    (
        Attack("program", "Run a program", "COPY (SELECT 1) TO PROGRAM 'touch {loot}'", _FILES),
        Attack("program-from", "Read from a program", "COPY fruits.items FROM PROGRAM 'id'", _FILES),
        Attack("write-file", "Write a file", "COPY (SELECT 1) TO '{loot}'", _FILES),
        Attack("read-file-copy", "Read a file into a table", "COPY fruits.items FROM '/etc/passwd'", _FILES),
        Attack("read-file", "Read a file", "SELECT pg_read_file('/etc/passwd')", _FILES),
        Attack("read-binary-file", "Read a file's bytes", "SELECT pg_read_binary_file('pg_hba.conf')", _FILES),
        Attack("stat-file", "Look at a file", "SELECT pg_stat_file('/etc/passwd')", _FILES),
        Attack("list-folder", "List a folder", "SELECT pg_ls_dir('.')", _FILES),
        Attack("list-log", "List the logs", "SELECT pg_ls_logdir()", _FILES),
        Attack("list-wal", "List the WAL", "SELECT pg_ls_waldir()", _FILES),
        Attack("lo-import", "Read a file into a large object", "SELECT lo_import('/etc/passwd')", _FILES),
        Attack("lo-export", "Write a large object to a file", "SELECT lo_export(1, '{loot}')", _FILES),
        Attack("hba", "Read who may connect from where", "TABLE pg_hba_file_rules", _SUPER),
        Attack("file-settings", "Read the settings' files", "TABLE pg_file_settings", _SUPER),
        Attack(
            "alter-system",
            "Change a setting of the server",
            "ALTER SYSTEM SET log_statement = 'all'",
            _SUPER,
            ways=SESSIONS,
        ),
        Attack("reload", "Have the settings read again", "SELECT pg_reload_conf()", _SUPER),
        Attack("rotate-log", "Switch the log", "SELECT pg_rotate_logfile()", _SUPER),
        Attack("switch-wal", "Switch the WAL, and fill the archive", "SELECT pg_switch_wal()", _SUPER),
        Attack("restore-point", "Write a restore point", "SELECT pg_create_restore_point('loot')", _SUPER),
        Attack("promote", "Promote the server", "SELECT pg_promote()", _SUPER),
        Attack("checkpoint", "Slow all down with checkpoints", "CHECKPOINT", _SUPER),
        Attack("load", "Load a library", "LOAD 'auto_explain'", "LOAD takes libraries from `plugins` alone"),
        Attack("preload", "Preload a library", "SET session_preload_libraries = 'auto_explain'", _SUPER),
        Attack("library-path", "Look for libraries elsewhere", "SET dynamic_library_path = '/tmp'", _SUPER),
        Attack("system-tables", "Allow changes of system tables", "SET allow_system_table_mods = on", _SUPER),
        Attack("hide-from-log", "Hide from the log", "SET log_statement = 'none'", _SUPER),
        Attack(
            "replica-role", "Switch triggers and foreign keys off", "SET session_replication_role = replica", _SUPER
        ),
        Attack("temp-limit", "Lift the limit of temporary files", "SET temp_file_limit = -1", _SUPER),
        Attack("reset-statistics", "Reset the statistics of all", "SELECT pg_stat_reset()", _SUPER),
        Attack(
            "write-pg-class",
            "Write into the system's tables",
            "UPDATE pg_class SET relowner = 'fruits'::regrole WHERE relname = 'items'",
            _SUPER,
        ),
        Attack(
            "shadow-in-pg-catalog",
            "Plant a function among PostgreSQL's own",
            "CREATE FUNCTION pg_catalog.loot() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            _SUPER,
        ),
        Attack("replace-own", "Change a function of PostgreSQL", "ALTER FUNCTION pg_catalog.now() VOLATILE", _OWNER),
        Attack(
            "xml-entity",
            "Read a file through an entity of XML",
            "SELECT (xmlparse(DOCUMENT '<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>')::text"
            " LIKE '%root:%')::int",
            "PostgreSQL loads no external entity",
            outcome="harmless",
            expects=("42501", "0A000"),  # where the server has no XML
            answers="0",
        ),
    ),
)

CODE = Group(
    "Code that is not the tenant's to run",
    (
        Attack(
            "language-c",
            "Make a function of a library",
            "CREATE FUNCTION pg_temp.loot(cstring) RETURNS int LANGUAGE c AS 'libc.so.6', 'system'",
            _SUPER,
        ),
        Attack(
            "language-internal",
            "Make a function of the server's own code",
            "CREATE FUNCTION pg_temp.loot() RETURNS bool LANGUAGE internal AS 'pg_reload_conf'",
            _SUPER,
        ),
        Attack("language", "Make a language", "CREATE LANGUAGE loot HANDLER plpgsql_call_handler", _SUPER),
        Attack("language-take", "Take a language over", "ALTER LANGUAGE plpgsql OWNER TO fruits", _OWNER),
        Attack(
            "extension", "Make an extension that PostgreSQL trusts", "CREATE EXTENSION hstore SCHEMA fruits", _CREATE
        ),
        Attack("extension-dblink", "Make dblink", "CREATE EXTENSION dblink SCHEMA fruits", _SUPER),
        Attack("extension-fdw", "Make postgres_fdw", "CREATE EXTENSION postgres_fdw SCHEMA fruits", _SUPER),
        Attack("extension-file", "Make file_fdw", "CREATE EXTENSION file_fdw SCHEMA fruits", _SUPER),
        Attack("extension-change", "Change an extension", "ALTER EXTENSION plpgsql SET SCHEMA fruits", _OWNER),
        Attack("extension-drop", "Drop an extension", "DROP EXTENSION plpgsql CASCADE", _OWNER),
        Attack(
            "extensions-plant",
            "Plant a function in `extensions`",
            "CREATE FUNCTION extensions.loot() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            _CLOSED,
        ),
        Attack("public-plant", "Plant a table in `public`", "CREATE TABLE public.loot (x int)", _CLOSED),
        Attack("wrapper", "Make a foreign data wrapper", "CREATE FOREIGN DATA WRAPPER loot", _SUPER),
        Attack("server", "Make a foreign server", "CREATE SERVER loot FOREIGN DATA WRAPPER given", _CLOSED),
        Attack(
            "user-mapping",
            "Use a foreign server of the admin",
            "CREATE USER MAPPING FOR CURRENT_USER SERVER far",
            _CLOSED,
        ),
        Attack(
            "event-trigger",
            "Make an event trigger, which fires as the admin",
            "CREATE EVENT TRIGGER loot ON ddl_command_end EXECUTE FUNCTION fruits.fires()",
            _SUPER,
        ),
        Attack(
            "base-type",
            "Make a base type, whose input function reads memory",
            "CREATE TYPE pg_temp.loot (INPUT = int4in, OUTPUT = int4out)",
            _SUPER,
        ),
        Attack(
            "cast",
            "Make a cast between types of PostgreSQL",
            "CREATE CAST (int4 AS text) WITHOUT FUNCTION AS IMPLICIT",
            _OWNER,
        ),
        Attack(
            "operator-class",
            "Make an operator class",
            "CREATE OPERATOR CLASS pg_temp.loot FOR TYPE int4 USING btree AS STORAGE int4",
            _SUPER,
        ),
        Attack(
            "access-method",
            "Make an access method",
            "CREATE ACCESS METHOD loot TYPE TABLE HANDLER heap_tableam_handler",
            _SUPER,
        ),
        Attack(
            "leakproof",
            "Declare a function leakproof, which row level security trusts",
            "ALTER FUNCTION fruits.plain(int) LEAKPROOF",
            _SUPER,
        ),
        Attack(
            "definer-gift",
            "Make a function and give it to the admin",
            "ALTER FUNCTION fruits.plain(int) OWNER TO postgres",
            _MEMBER,
        ),
        Attack(
            "view-gift", "Give a view to a neighbour, to read as it", "ALTER VIEW fruits.own OWNER TO apples", _MEMBER
        ),
        Attack(
            "untrusted-do",
            "Run a block in an untrusted language",
            "DO LANGUAGE internal 'pg_reload_conf'",
            _SUPER,
            expects=("42501", "0A000"),
        ),
    ),
)

CLUSTER = Group(
    "Schemas, databases, replication",
    (
        Attack("create-schema", "Make a schema", "CREATE SCHEMA loot", _CREATE),
        Attack(
            "create-schema-own",
            "Make a schema of one's own",
            "CREATE SCHEMA IF NOT EXISTS loot AUTHORIZATION CURRENT_USER",
            _CREATE,
        ),
        Attack(
            "rename-own-schema",
            "Rename one's own schema, and take a name",
            "ALTER SCHEMA fruits RENAME TO loot",
            _CREATE,
        ),
        Attack("create-database", "Make a database", "CREATE DATABASE loot", _ROLE, ways=SESSIONS),
        Attack("drop-database", "Drop a database", "DROP DATABASE template1", _OWNER, ways=SESSIONS),
        Attack(
            "alter-database",
            "Change a setting of the database",
            'ALTER DATABASE "db.main" SET search_path = fruits',
            _OWNER,
        ),
        Attack("own-database", "Take the database over", 'ALTER DATABASE "db.main" OWNER TO fruits', _OWNER),
        Attack(
            "grant-database",
            "Let everybody make schemas",
            'GRANT CREATE ON DATABASE "db.main" TO PUBLIC',
            "PostgreSQL grants nothing of what one does not have, with a warning",
            outcome="harmless",
        ),
        Attack("comment-database", "Comment on the database", "COMMENT ON DATABASE \"db.main\" IS 'loot'", _OWNER),
        Attack("tablespace", "Make a tablespace", "CREATE TABLESPACE loot LOCATION '/tmp'", _SUPER, ways=SESSIONS),
        Attack(
            "into-global",
            "Make a table among the shared ones",
            "CREATE TABLE fruits.loot (x int) TABLESPACE pg_global",
            "privileges of PostgreSQL on tablespaces",
            expects=("42501", "22023"),
        ),
        Attack(
            "reindex-system",
            "Rebuild, and so lock, the system's indexes",
            'REINDEX SYSTEM "db.main"',
            _OWNER,
            ways=SESSIONS,
        ),
        Attack("publication", "Publish all tables", "CREATE PUBLICATION loot FOR ALL TABLES", _CREATE),
        Attack(
            "publication-own", "Publish one's own tables", "CREATE PUBLICATION loot FOR TABLE fruits.items", _CREATE
        ),
        Attack(
            "subscription",
            "Subscribe to a server of one's own",
            "CREATE SUBSCRIPTION loot CONNECTION 'host=127.0.0.1' PUBLICATION loot WITH (connect = false)",
            _CREATE,
        ),
        Attack(
            "slot",
            "Make a replication slot, which keeps the WAL for ever",
            "SELECT pg_create_physical_replication_slot('loot', true)",
            _SUPER,
        ),
        Attack(
            "slot-logical",
            "Make a logical slot, which reads all changes",
            "SELECT pg_create_logical_replication_slot('loot', 'pgoutput')",
            _SUPER,
        ),
        Attack("slot-drop", "Drop the slot of a standby", "SELECT pg_drop_replication_slot('standby')", _SUPER),
        Attack("origin", "Make a replication origin", "SELECT pg_replication_origin_create('loot')", _SUPER),
        Attack(
            "vacuum-system",
            "Rewrite a table of the system",
            "VACUUM FULL pg_class",
            "VACUUM passes over what is not one's own, with a warning",
            outcome="harmless",
            ways=SESSIONS,
        ),
    ),
)

SESSIONS_OF_OTHERS = Group(
    "Sessions of others",
    (
        Attack(
            "terminate",
            "End a neighbour's session",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'apples~%'",
            _MONITOR,
        ),
        Attack(
            "cancel",
            "Cancel a neighbour's query",
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'apples~%'",
            _MONITOR,
        ),
        Attack(
            "terminate-admin",
            "End the admin's session",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
            _SUPER,
        ),
        Attack(
            "log-memory",
            "Write a neighbour's memory contexts to the log",
            "SELECT pg_log_backend_memory_contexts(pid) FROM pg_stat_activity WHERE usename LIKE 'apples~%'",
            _SUPER,
        ),
        Attack(
            "queries",
            "Read what a neighbour asks",
            "SELECT string_agg(DISTINCT query, '') FROM pg_stat_activity WHERE usename LIKE 'apples~%'",
            _MONITOR,
            outcome="harmless",
            answers="<insufficient privilege>",
        ),
        Attack(
            "addresses",
            "Read where a neighbour connects from",
            "SELECT count(client_addr) FROM pg_stat_activity WHERE usename LIKE 'apples~%'",
            _MONITOR,
            outcome="harmless",
            answers="0",
        ),
        Attack(
            "cursors",
            "Read the cursors and statements of others",
            "SELECT (SELECT count(*) FROM pg_cursors WHERE name = 'theirs') +"
            " (SELECT count(*) FROM pg_prepared_statements WHERE name = 'theirs')",
            "they are of the session alone",
            outcome="harmless",
            answers="0",
        ),
        Attack(
            "finish-prepared",
            "Roll back a neighbour's prepared transaction",
            "ROLLBACK PREPARED 'theirs'",
            "only its owner ends a prepared transaction",
            ways=SESSIONS,
            expects=("42501",),
        ),
    ),
)

CATALOG = Group(
    "The catalog of this program",
    (
        Attack(
            "catalog-neighbours",
            "Read which other tenants there are",
            "SELECT count(*) FROM tenants.tenants WHERE name <> 'fruits'",
            _CATALOG,
            outcome="harmless",
            answers="0",
            ways=OWNERS,
        ),
        Attack(
            "catalog-leak",
            "Make row level security leak through a cheap function",
            "SELECT count(*) FROM tenants.deploys WHERE fruits.peeks(tenant)",
            _CATALOG,
            outcome="harmless",
            answers="0",
            ways=OWNERS,
        ),
        Attack(
            "catalog-app", "Read the catalog as the app's own role", "TABLE tenants.tenants", _CATALOG, ways=("app",)
        ),
        Attack("catalog-logins", "Read the logins of all", "TABLE tenants.logins", _CATALOG),
        Attack("catalog-swaps", "Read the restores in progress", "TABLE tenants.swaps", _CATALOG),
        Attack(
            "catalog-swap",
            "Write down a restore of a neighbour",
            "INSERT INTO tenants.swaps VALUES (session_user, 'apples', 'loot')",
            _CATALOG,
        ),
        Attack(
            "catalog-set-aside",
            "Set a schema aside without a restore",
            "SELECT tenants.set_aside()",
            "tenants.set_aside finds its order by the session's login",
        ),
        Attack(
            "catalog-replace",
            "Replace the function that sets aside",
            "CREATE OR REPLACE FUNCTION tenants.set_aside() RETURNS void LANGUAGE sql AS 'SELECT'",
            _CATALOG,
        ),
        Attack("catalog-want", "Raise one's own limits", "UPDATE tenants.tenants SET connections = 10000", _CATALOG),
        Attack(
            "catalog-forge-tenant",
            "Write a tenant into the catalog",
            "INSERT INTO tenants.tenants (name, project) VALUES ('loot', 'loot')",
            _CATALOG,
        ),
        Attack(
            "catalog-forge-deploy",
            "Write a neighbour's deploy into the catalog",
            "INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages)"
            " VALUES ('apples', 'x', 'drop', '{}', '{}', '{}', 'dropped', '{}')",
            _CATALOG,
        ),
        Attack(
            "catalog-forge-snapshot",
            "Write a neighbour's snapshot into the catalog",
            "INSERT INTO tenants.snapshots VALUES ('x', 'apples', now(), 'x', 1, repeat('0', 64), now())",
            _CATALOG,
        ),
        Attack(
            "catalog-move",
            "Turn one's own record into a neighbour's",
            "UPDATE tenants.deploys SET tenant = 'apples'",
            _CATALOG,
        ),
        Attack("read-key", "Read the key that signs ledgers", "SELECT private FROM tenants.keys", _CATALOG),
        Attack(
            "add-key", "Have a key of one's own trusted", "INSERT INTO tenants.keys VALUES ('x', '\\x00')", _CATALOG
        ),
        Attack(
            "forge-pending",
            "Forge the snapshot of a neighbour that is under way",
            "INSERT INTO tenants.pending VALUES ('apples', 'x', repeat('0', 64), NULL, 'x')",
            _CATALOG,
        ),
        Attack(
            "catalog-own-record",
            "Write one's own record, of any size and date, into the catalog",
            "INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages)"
            " VALUES ('fruits', 'fruits', 'deploy', '{}', '{}', ARRAY[repeat('x', 390000)], 'migrated', '{}')",
            _WRITES,
        ),
        Attack(
            "catalog-own-live",
            "Mark one's own release as live in the year 2199",
            "UPDATE tenants.deploys SET live_at = '2199-01-01'",
            _WRITES,
        ),
        Attack(
            "catalog-large-record",
            "Record a revision whose name is 390 kB long, so that commands for all run out of memory",
            "SELECT tenants.add_record('deploy', '{}', '{}', ARRAY[repeat('x', 390000)], NULL, NULL, 'migrated',"
            " NULL, '{}', NULL, NULL, NULL)",
            _WRITES,
            expects=("42501", "22023"),
        ),
        Attack(
            "catalog-record-drop",
            "Record that one was dropped",
            "SELECT tenants.add_record('drop', '{}', '{}', '{}', NULL, NULL, 'dropped', NULL, '{}', NULL, NULL, NULL)",
            _WRITES,
            expects=("42501", "22023"),
        ),
        Attack(
            "catalog-future-snapshot",
            "Record a snapshot of the year 2199, so that the last one never looks old",
            "SELECT tenants.add_snapshot('21990101T000000Z-aaaaaa', '2199-01-01', '0001', 1, repeat('0', 64), now(),"
            " NULL, repeat('0', 64), 's3://bucket')",
            _WRITES,
            expects=("42501", "22008"),
        ),
        Attack(
            "catalog-count",
            "Forget how much one has written within the hour",
            "DELETE FROM tenants.written",
            _CATALOG,
        ),
        Attack("catalog-delete", "Delete records", "DELETE FROM tenants.deploys", _CATALOG),
        Attack(
            "catalog-lock",
            "Lock the catalog",
            "DO $$BEGIN LOCK TABLE tenants.deploys IN ACCESS EXCLUSIVE MODE; END$$",
            _CATALOG,
        ),
        Attack(
            "catalog-lock-row", "Lock one's own row of the catalog", "SELECT FROM tenants.tenants FOR SHARE", _CATALOG
        ),
        Attack(
            "catalog-policy",
            "Switch row level security off",
            "ALTER TABLE tenants.deploys DISABLE ROW LEVEL SECURITY",
            _CATALOG,
        ),
        Attack(
            "catalog-trigger",
            "Put a trigger on the catalog",
            "CREATE TRIGGER loot BEFORE INSERT ON tenants.deploys"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            _CATALOG,
        ),
        Attack("catalog-plant", "Plant a table in the catalog", "CREATE TABLE tenants.loot (x int)", _CATALOG),
        Attack(
            "catalog-version",
            "Make the catalog too new for this program",
            "UPDATE tenants.catalog SET version = 99",
            _CATALOG,
        ),
    ),
)

APP = Group(
    "The app's own role",
    (
        Attack(
            "app-version",
            "Change the revision that the schema is at",
            "UPDATE fruits.alembic_version SET version_num = 'loot'",
            "grants of the app's role",
            ways=("app",),
        ),
        Attack(
            "app-create", "Make a table", "CREATE TABLE fruits.loot (x int)", "grants of the app's role", ways=("app",)
        ),
        Attack(
            "app-drop",
            "Drop a table",
            "DROP TABLE fruits.items",
            "the owner, and not the app, owns tables",
            ways=("app",),
        ),
        Attack(
            "app-truncate", "Empty a table at once", "TRUNCATE fruits.items", "grants of the app's role", ways=("app",)
        ),
        Attack(
            "app-triggers",
            "Switch triggers off",
            "ALTER TABLE fruits.items DISABLE TRIGGER ALL",
            "the owner, and not the app, owns tables",
            ways=("app",),
        ),
        Attack(
            "app-grant",
            "Grant rows to a neighbour",
            "GRANT SELECT ON fruits.items TO apples",
            "the app's role has no GRANT option",
            ways=("app",),
            outcome="harmless",
        ),
        Attack("app-owner", "Become the owner", "SET ROLE fruits", _MEMBER, ways=("app",)),
        Attack(
            "app-replace",
            "Replace a function that the owner calls",
            "CREATE OR REPLACE FUNCTION fruits.plain(int) RETURNS int LANGUAGE sql AS 'SELECT 0'",
            "grants of the app's role",
            ways=("app",),
        ),
        Attack(
            "app-policy",
            "Switch row level security off",
            "ALTER TABLE fruits.items DISABLE ROW LEVEL SECURITY",
            "the owner, and not the app, owns tables",
            ways=("app",),
        ),
    ),
)

OWN = Group(
    "Effects that stay within",
    (
        Attack(
            "own-password",
            "Give the owner, which never logs in, a password",
            "ALTER ROLE fruits PASSWORD 'mine'",
            "the owner is NOLOGIN; the password goes with the next deploy",
            outcome="harmless",
            ways=("login",),
        ),
        Attack(
            "own-settings",
            "Lift one's own limits for good",
            "ALTER ROLE SESSION_USER SET statement_timeout = 0",
            "they are repaired by the next nightly run; the audit names them",
            outcome="harmless",
            ways=("login", "app"),
        ),
        Attack(
            "own-search-path",
            "Let one's own login begin elsewhere",
            "ALTER ROLE SESSION_USER SET search_path = apples, pg_catalog",
            "no privilege comes with a search_path",
            outcome="harmless",
            ways=("login", "app"),
        ),
        Attack(
            "own-grant",
            "Grant one's own schema to a neighbour, whose name is then bound to it",
            "GRANT USAGE ON SCHEMA fruits TO apples",
            "the audit names it, and dropping the neighbour takes it back",
            outcome="harmless",
            ways=("login",),
        ),
        Attack(
            "own-temp",
            "Shadow names of PostgreSQL by temporary tables",
            "CREATE TEMPORARY TABLE pg_roles (rolname text); DROP TABLE pg_temp.pg_roles",
            "temporary objects are of the session alone",
            outcome="harmless",
            ways=("login", "revision", "sql"),
        ),
    ),
)

GROUPS = (NEIGHBOUR, ROLES, SERVER, CODE, CLUSTER, SESSIONS_OF_OTHERS, CATALOG, APP, OWN)
