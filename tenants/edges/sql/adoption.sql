-- What lies in schemas, and what hangs together: the graph that `adopt` plans with. Catalogs alone are read.

-- name: adoption_begin
-- things: what can be moved to another schema by itself. whole: to which thing a part belongs (an index, a constraint, a
-- trigger, a row type, an owned sequence …), so that the graph is one of things.
WITH things AS (
    SELECT 'pg_class'::regclass AS classid, c.oid AS objid, c.relnamespace AS nsp, c.relowner AS owner, c.relname::text AS name,
           CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                          WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind,
           CASE WHEN c.relkind = 'f' THEN 'it reaches another server, with rights that no tenant has' END AS obstacle,
           c.relrowsecurity AS secured
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT (c.relkind = 'S' AND EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')))
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, p.pronamespace, p.proowner, p.proname, 'ROUTINE',
           CASE WHEN p.prorettype = 'event_trigger'::regtype THEN 'it is for an event trigger, which is the whole database''s'
                WHEN NOT l.lanpltrusted AND p.prokind <> 'a' AND NOT EXISTS (  -- those that come with a range type
                    SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
                THEN 'its language, ' || l.lanname || ', knows no limits' END,
           false
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, t.typnamespace, t.typowner, t.typname, 'TYPE',
           CASE WHEN t.typtype = 'b' THEN 'it is a base type' END, false
    FROM pg_type t
    WHERE t.typtype IN ('e', 'd', 'r', 'm') OR t.typtype = 'b' AND t.typcategory <> 'A'
       OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')
    UNION ALL
    SELECT 'pg_operator'::regclass, oid, oprnamespace, oprowner, oprname, 'OPERATOR', NULL, false FROM pg_operator
    UNION ALL
    SELECT 'pg_opfamily'::regclass, oid, opfnamespace, opfowner, opfname, 'OPERATOR FAMILY', NULL, false FROM pg_opfamily
    UNION ALL
    SELECT 'pg_opclass'::regclass, oid, opcnamespace, opcowner, opcname, 'OPERATOR CLASS', NULL, false FROM pg_opclass
    UNION ALL
    SELECT 'pg_collation'::regclass, oid, collnamespace, collowner, collname, 'COLLATION', NULL, false FROM pg_collation
    UNION ALL
    SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, cfgowner, cfgname, 'TEXT SEARCH CONFIGURATION', NULL, false FROM pg_ts_config
    UNION ALL
    SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, dictowner, dictname, 'TEXT SEARCH DICTIONARY', NULL, false FROM pg_ts_dict
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, oid, stxnamespace, stxowner, stxname, 'STATISTICS', NULL, false FROM pg_statistic_ext
), parts AS (
    SELECT 'pg_class'::regclass AS classid, i.indexrelid AS objid, 'pg_class'::regclass AS topclass, coalesce(c.oid, i.indrelid) AS topobj
    FROM pg_index i LEFT JOIN pg_class c ON c.reltoastrelid = i.indrelid
    UNION ALL
    SELECT d.classid, d.objid, d.refclassid, d.refobjid FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    UNION ALL SELECT 'pg_class'::regclass, reltoastrelid, 'pg_class'::regclass, oid FROM pg_class WHERE reltoastrelid <> 0
    UNION ALL SELECT 'pg_class'::regclass, oid, 'pg_type'::regclass, reltype FROM pg_class WHERE relkind = 'c'
    UNION ALL SELECT 'pg_constraint'::regclass, oid, 'pg_class'::regclass, conrelid FROM pg_constraint WHERE conrelid <> 0
    UNION ALL SELECT 'pg_constraint'::regclass, oid, 'pg_type'::regclass, contypid FROM pg_constraint WHERE contypid <> 0
    UNION ALL SELECT 'pg_attrdef'::regclass, oid, 'pg_class'::regclass, adrelid FROM pg_attrdef
    UNION ALL SELECT 'pg_trigger'::regclass, oid, 'pg_class'::regclass, tgrelid FROM pg_trigger
    UNION ALL SELECT 'pg_rewrite'::regclass, oid, 'pg_class'::regclass, ev_class FROM pg_rewrite
    UNION ALL SELECT 'pg_policy'::regclass, oid, 'pg_class'::regclass, polrelid FROM pg_policy
    UNION ALL SELECT 'pg_amop'::regclass, oid, 'pg_opfamily'::regclass, amopfamily FROM pg_amop
    UNION ALL SELECT 'pg_amproc'::regclass, oid, 'pg_opfamily'::regclass, amprocfamily FROM pg_amproc
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, 'pg_class'::regclass, c.oid FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind <> 'c'
    UNION ALL
    SELECT 'pg_type'::regclass, t.typarray, 'pg_class'::regclass, c.oid FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind <> 'c'
    WHERE t.typarray <> 0
    UNION ALL
    SELECT 'pg_type'::regclass, t.typarray, 'pg_type'::regclass, t.oid FROM pg_type t
    WHERE t.typarray <> 0 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
), whole AS (
    SELECT p.* FROM parts p
    UNION ALL SELECT classid, objid, classid, objid FROM things
)

-- name: adoption_things
SELECT t.classid::oid || '/' || t.objid AS key,
       t.kind,
       n.nspname::text AS schema,
       t.name,
       i.identity,
       substr(i.identity, length(quote_ident(n.nspname)) + 2) AS rest,
       pg_get_userbyid(t.owner)::text AS owner,
       e.extname::text AS extension,
       t.obstacle,
       t.secured,
       NOT pg_has_role(t.owner, 'USAGE') AS beyond,
       t.kind = 'ROUTINE' AND n.nspname <> 'pg_catalog' AND EXISTS (
           SELECT FROM pg_proc p WHERE p.oid = t.objid AND (
               strpos(p.prosrc, quote_ident(n.nspname) || '.') > 0
               OR strpos(array_to_string(p.proconfig, ' '), n.nspname) > 0)) AS names_schema,
       current_setting('server_version_num')::int >= 170000  -- before, a multirange had an owner of its own
           AND EXISTS (SELECT FROM pg_range r WHERE t.classid = 'pg_type'::regclass AND r.rngmultitypid = t.objid) AS follows,
       CASE WHEN t.kind IN ('TABLE', 'VIEW', 'MATERIALIZED VIEW') THEN ARRAY(
           SELECT a.privilege_type || ' TO ' || coalesce(quote_ident(g.rolname), 'PUBLIC')
           FROM pg_class c
           CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
           LEFT JOIN pg_roles g ON g.oid = a.grantee
           WHERE c.oid = t.objid AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
             AND NOT coalesce(g.rolsuper OR g.rolname = current_user, false) AND (g.oid IS NOT NULL OR a.grantee = 0)
           ORDER BY 1)
       END AS grants
FROM things t
JOIN pg_namespace n ON n.oid = t.nsp
CROSS JOIN LATERAL pg_identify_object(t.classid, t.objid, 0) AS i
LEFT JOIN pg_depend d ON d.classid = t.classid AND d.objid = t.objid AND d.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = d.refobjid
WHERE n.nspname !~ '^pg_(catalog|toast|temp)' AND n.nspname NOT IN ('information_schema', 'tenants')
ORDER BY t.classid, t.objid;

-- name: droppable
-- Statements that drop what lies in a schema: first what nothing else needs, the newest first. Those of each line drop
-- one thing, and what has come to depend on it.
SELECT format('DROP %%s IF EXISTS %%s CASCADE', t.kind, i.identity) AS statement
FROM (
    SELECT t.*, needed.topobj IS NOT NULL AS needed
    FROM things t
    LEFT JOIN (
        SELECT DISTINCT b.topclass, b.topobj
        FROM pg_depend d
        JOIN whole a ON a.classid = d.classid AND a.objid = d.objid
        JOIN whole b ON b.classid = d.refclassid AND b.objid = d.refobjid
        WHERE (a.topclass, a.topobj) <> (b.topclass, b.topobj)
          AND NOT (d.classid = 'pg_trigger'::regclass AND d.deptype = 'i')  -- those of foreign keys, on the other side
    ) needed ON needed.topclass = t.classid AND needed.topobj = t.objid
    WHERE t.nsp = to_regnamespace(quote_ident(%(schema)s))
    ORDER BY needed.topobj IS NOT NULL, t.objid DESC
    LIMIT %(count)s
) t
CROSS JOIN LATERAL pg_identify_object(t.classid, t.objid, 0) AS i
WHERE i.identity IS NOT NULL
ORDER BY t.needed, t.objid DESC;

-- name: adoption_edges
-- Which thing needs which other one. What is no thing (an event trigger, a view of information_schema) is in words.
SELECT DISTINCT
       user_.key, user_.words, user_.schema,
       used.key AS used_key, used.words AS used_words, used.schema AS used_schema,
       EXISTS (SELECT FROM pg_inherits h WHERE d.classid = 'pg_class'::regclass AND d.refclassid = d.classid
               AND h.inhrelid = d.objid AND h.inhparent = d.refobjid) AS inherits
FROM pg_depend d
LEFT JOIN whole a ON a.classid = d.classid AND a.objid = d.objid
LEFT JOIN whole b ON b.classid = d.refclassid AND b.objid = d.refobjid
CROSS JOIN LATERAL (
    SELECT a.topclass::oid || '/' || a.topobj AS key,
           CASE WHEN a.topobj IS NULL THEN pg_describe_object(d.classid, d.objid, 0) END AS words,
           CASE WHEN a.topobj IS NULL THEN (pg_identify_object(d.classid, d.objid, 0)).schema END AS schema
) user_
CROSS JOIN LATERAL (
    SELECT b.topclass::oid || '/' || b.topobj AS key,
           CASE WHEN b.topobj IS NULL THEN pg_describe_object(d.refclassid, d.refobjid, 0) END AS words,
           CASE WHEN b.topobj IS NULL THEN (pg_identify_object(d.refclassid, d.refobjid, 0)).schema END AS schema
) used
WHERE d.objid >= 16384 AND d.deptype <> 'e'
  AND NOT (d.classid = 'pg_trigger'::regclass AND d.deptype = 'i')  -- those of foreign keys, on the other side
  AND (a.topobj IS NOT NULL OR b.topobj IS NOT NULL)
  AND (a.topclass, a.topobj) IS DISTINCT FROM (b.topclass, b.topobj)
  AND d.classid NOT IN ('pg_cast'::regclass, 'pg_default_acl'::regclass, 'pg_publication_rel'::regclass, 'pg_extension'::regclass)
  AND d.refclassid NOT IN ('pg_namespace'::regclass, 'pg_language'::regclass, 'pg_am'::regclass, 'pg_extension'::regclass);
