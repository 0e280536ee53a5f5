// What the catalog tells beyond what the program itself says. Each query gives lines; $1 is the table's oid, and $2 the
// statements that would be sent.

/** The table and all below it. */
export const tree = `
tree (oid) AS (
  SELECT $1::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
)`;

/** Why this role may not do it here, or what the server would refuse in the midst of the work. */
export const conflicts = `
WITH RECURSIVE ${tree},
types (oid) AS ( -- the table's row type, and what is made of it
  SELECT c.reltype FROM pg_class c JOIN tree ON tree.oid = c.oid
  UNION
  SELECT y.oid FROM types t JOIN pg_type y ON t.oid IN (y.typelem, y.typbasetype) OR y.typtype = 'c' AND y.typrelid IN (
    SELECT attrelid FROM pg_attribute WHERE atttypid = t.oid AND NOT attisdropped)
)
SELECT concat(problem, chr(10), remedy) AS line
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles o ON o.oid = c.relowner
JOIN pg_roles me ON me.rolname = current_user
CROSS JOIN LATERAL (VALUES
  (pg_is_in_recovery(), 'this server is a standby: it cannot be changed',
   'Connect to the primary and run it there; the standby follows by itself.'),
  (NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'on', 'this session is read-only',
   'See where that comes from: SELECT source, setting FROM pg_settings WHERE name = ''default_transaction_read_only'';'),
  (NOT pg_has_role(c.relowner, 'USAGE'),
   format('it belongs to %I, and only its owner may alter it; this session is %I', o.rolname, current_user),
   format('Run it as %I, or as a member of that role.', o.rolname)),
  ($2::text ~ 'CREATE TABLE' AND NOT me.rolsuper AND NOT has_schema_privilege(o.oid, n.oid, 'CREATE'),
   format('a table is kept beside it, and its owner %I may not create one in schema %I', o.rolname, n.nspname),
   format('As the owner of the schema: GRANT CREATE ON SCHEMA %I TO %I; it can be revoked after the last step.',
          n.nspname, o.rolname))
) reason (applies, problem, remedy)
WHERE c.oid = $1 AND applies
UNION ALL
SELECT concat(format('column %I of %s is of the table''s row type: while it is, the server changes no type of the table, and '
                     'adds no column with a default', a.attname, c.oid::regclass), chr(10),
  CASE WHEN c.relnamespace = to_regnamespace('repack')
       THEN 'A pg_repack was killed: DROP EXTENSION pg_repack CASCADE; CREATE EXTENSION pg_repack;'
       WHEN c.relkind = 'm' THEN format('DROP MATERIALIZED VIEW %s; and create it anew afterwards.', c.oid::regclass)
       ELSE format('ALTER TABLE %s ALTER COLUMN %I TYPE jsonb USING to_jsonb(%2$I); what writes it then needs to_jsonb(), too.',
                   c.oid::regclass, a.attname) END)
FROM types t
JOIN pg_attribute a ON a.atttypid = t.oid AND NOT a.attisdropped
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm', 'p')
WHERE $2 ~ 'ADD COLUMN [^\\n]* DEFAULT|ALTER COLUMN [^\\n]* TYPE '`;

/** Whom else it concerns: readers, functions (those of triggers the program itself looks at), subscribers, publishers. */
export const warnings = `
SELECT format('before PostgreSQL 11 a column with a default rewrites the table, and readers wait: %s',
              pg_size_pretty(pg_table_size($1::oid))) AS line
WHERE current_setting('server_version_num')::integer < 110000 AND $2::text ~ 'ADD COLUMN [^\\n]* DEFAULT'
UNION ALL
SELECT format('only %s more columns are possible: a table has 1,600 numbers, and dropped columns keep theirs', 1600 - max(attnum))
FROM pg_attribute WHERE attrelid = $1 HAVING max(attnum) > 1500
UNION ALL
SELECT format('function %s has %s in its text, and may fail from then on', p.oid::regprocedure, g.names[1])
FROM regexp_matches($2, '(?:DROP|RENAME) COLUMN "?(\\w+)"?(?: TO "?(\\w+))?', 'g') g (names)
JOIN pg_proc p ON p.prosrc ~* ('\\m' || g.names[1] || '\\M') AND NOT coalesce(p.prosrc ~* ('\\m' || g.names[2] || '\\M'), false)
JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
WHERE p.prorettype <> 'trigger'::regtype AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
UNION ALL
SELECT format('%s. A subscriber without the columns stops at the next write, and goes on once it has them: migrate this '
              'server first, then the subscribers at once.', pg_describe_object(classid, objid, objsubid))
FROM pg_depend
WHERE refclassid = 'pg_class'::regclass AND refobjid = $1 AND refobjsubid = 0
  AND classid = to_regclass('pg_catalog.pg_publication_rel')
UNION ALL
SELECT format('the logical replication slot %s decodes this database. If the table is published to it: migrate this server '
              'first, then the subscribers at once. FOR ALL TABLES publishes the tables that are kept beside it, too: they '
              'need them.', slot_name)
FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()
UNION ALL
-- By query_to_xml, because servers before 10 have no such catalog.
SELECT 'the table is fed by a subscription. Migrate the server that publishes first, then this one at once.'
WHERE to_regclass('pg_catalog.pg_subscription_rel') IS NOT NULL
  AND query_to_xml(format('SELECT 1 FROM pg_catalog.pg_subscription_rel WHERE srrelid = %s', $1::oid),
                   false, false, '')::text LIKE '%<row%'`;

/** CHECK constraints over columns that the application writes ($2), into all but some ($3) NULL as well. */
export const checks = `
SELECT a.attname AS name, is_not_null AS "isCertain",
       format(CASE WHEN is_not_null THEN 'constraint %s refuses NULL, which the application stores: ALTER TABLE %s DROP CONSTRAINT %1$s;'
              ELSE 'constraint %s of %s may refuse what the application stores: %s' END,
              quote_ident(k.conname), k.conrelid::regclass, pg_get_constraintdef(k.oid)) AS line
FROM pg_constraint k
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
CROSS JOIN LATERAL (SELECT pg_get_expr(k.conbin, k.conrelid) = format('(%I IS NOT NULL)', a.attname)) e (is_not_null)
WHERE k.conrelid = $1 AND k.contype = 'c' AND a.attname::text = ANY ($2::text[])
  AND NOT (is_not_null AND a.attname::text = ANY ($3::text[]))`;

/**
 * Who holds a transaction on the table or a part of it, or has changed the catalog's row of it (GRANT before 18). A query
 * is shown up to its first string: somebody's data.
 */
export const holders = `
WITH RECURSIVE ${tree}
SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction; see pg_prepared_xacts'
         ELSE format('pid %s, user %s, application %L, %s, transaction open for %s s: %s', l.pid, a.usename,
                     coalesce(a.application_name, ''), coalesce(a.state, 'hidden from this role'),
                     round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1),
                     left(split_part(regexp_replace(a.query, '(''|\\$([^0-9$][^$]*)?\\$).*', '''...'), chr(10), 1), 100))
       END, chr(10)) AS line
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND (
  l.relation IN (SELECT oid FROM tree) AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  OR l.transactionid IN (SELECT c.xmax FROM pg_class c JOIN tree ON tree.oid = c.oid
                         UNION ALL SELECT c.xmax FROM pg_attribute c JOIN tree ON tree.oid = c.attrelid))`;

/** Which the application's own words ($2 its app and $3 migration for Django, $4 a column, $5 once, and $6 its type) want. */
export const hints = `
SELECT format('Django has not recorded its own migration. So that it does not try again: python manage.py migrate %s %s --fake',
              $2::text, $3::text) AS line
FROM pg_class c JOIN pg_class m ON m.relnamespace = c.relnamespace AND m.relname = 'django_migrations'
-- By query_to_xml, because it may not be there.
WHERE c.oid = $1 AND $2 <> '' AND has_table_privilege(m.oid, 'SELECT') AND query_to_xml(format(
  'SELECT 1 FROM %s WHERE app = %L AND name = %L', m.oid::regclass, $2, $3), false, false, '')::text NOT LIKE '%<row%'
UNION ALL
SELECT format('%s is %s, as %s was; the application''s model says %s. All works but saving an empty string. At a quiet hour, as '
              'it rewrites the table: ALTER TABLE %s ALTER COLUMN %1$I TYPE %4$s;',
              attname, atttypid::regtype, $5::text, $6::text, attrelid::regclass)
FROM pg_attribute
WHERE attrelid = $1 AND attname = $4 AND atttypid IN ('json'::regtype, 'jsonb'::regtype) AND atttypid::regtype::text <> $6`;
