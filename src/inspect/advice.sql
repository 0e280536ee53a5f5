-- What the catalog tells beyond what the program itself says, in lines of several kinds; of a column, where they have a name.
-- $1 is the table's oid, $2 and $3 those of Knex's tables, $4 the change with the role that is asked about, $5 the statements
-- that would be sent, $6 the advisory lock that marks a transaction in which we migrate. What may not be there is read by
-- query_to_xml, as a name in this query must exist.
WITH RECURSIVE tree (oid) AS ( -- the table and all below it
  SELECT $1::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
),
types (oid) AS ( -- the table's row type, and what is made of it
  SELECT c.reltype FROM pg_class c JOIN tree ON tree.oid = c.oid
  UNION
  SELECT made.oid FROM types t CROSS JOIN LATERAL (
    SELECT y.oid FROM pg_type y WHERE t.oid IN (y.typelem, y.typbasetype)
    UNION ALL SELECT y.oid FROM pg_attribute a JOIN pg_type y ON y.typrelid = a.attrelid AND y.typtype = 'c'
    WHERE a.atttypid = t.oid AND NOT a.attisdropped
  ) made
),
rename (old, new, flag, type) AS (
  SELECT r ->> 'from', r ->> 'to', r ->> 'moveWhere', r ->> 'type' FROM (SELECT $4::jsonb -> 'rename') x (r)
),
declared (name, is_nullable) AS (
  SELECT c ->> 'name', NOT (c ->> 'notNull')::boolean FROM jsonb_array_elements($4 -> 'columns') c
  UNION ALL SELECT unnest(ARRAY[old, new]), true FROM rename
),
gone (name, other) AS ( -- columns that will not be there under this name
  SELECT (parse_ident(g[1]))[1], (parse_ident(g[2]))[1]
  FROM regexp_matches($5::text, '(?:DROP|RENAME) COLUMN ("(?:[^"]|"")+"|\w+)(?: TO ("(?:[^"]|"")+"|\w+))?', 'g') g
)
SELECT 'shape' AS kind, a.attname AS name, concat(format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.attnotnull THEN ' NOT NULL' END, ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)) AS line
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped

UNION ALL -- why this role may not do it here
SELECT 'conflict', '', concat(problem, chr(10), remedy)
FROM pg_class c CROSS JOIN LATERAL (SELECT relowner::regrole, relnamespace::regnamespace) its (owner, schema)
LEFT JOIN LATERAL (
  SELECT x.oid::regclass, x.relowner::regrole FROM tree JOIN pg_class x ON x.oid = tree.oid
  WHERE NOT pg_has_role(x.relowner, 'USAGE') ORDER BY x.oid <> c.oid LIMIT 1
) another (name, owner) ON true
CROSS JOIN LATERAL (VALUES
  (current_setting('transaction_read_only') = 'on',
   CASE WHEN pg_is_in_recovery() THEN 'this server is a standby' ELSE 'this session is read-only' END,
   'Connect to the primary, or see where that comes from: '
   'SELECT source FROM pg_settings WHERE name = ''default_transaction_read_only'';'),
  (another.name IS NOT NULL,
   format('%s belongs to %s, and only its owner may alter it; this session is %I', another.name, another.owner, current_user),
   format('Run it as %s, or as a member of that role; one without INHERIT needs PGOPTIONS=''-c role=%1$s''.', another.owner)),
  ($5 ~ 'CREATE TABLE' AND current_setting('is_superuser') = 'off'
     AND NOT has_schema_privilege(relowner, relnamespace, 'CREATE'),
   format('a table is kept beside it, and its owner %s may not create one in schema %s', its.owner, schema),
   format('As the owner of the schema: GRANT CREATE ON SCHEMA %s TO %s; it can be revoked after the last step.', schema, its.owner)),
  ($5 ~ 'CREATE TABLE' AND another.name IS NULL
     AND NOT pg_has_role(relowner, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END),
   format('a table is kept beside it for %s, and %I may not SET ROLE to it', its.owner, current_user),
   format('GRANT %s TO %I WITH INHERIT TRUE, SET TRUE;', its.owner, current_user))
) reason (applies, problem, remedy)
WHERE c.oid = $1 AND applies
UNION ALL
SELECT 'conflict', '', format(E'column %I of %s is of the table''s row type: while it is, the server changes no type of it, '
    'and adds no column with a default\n%s', a.attname, c.oid::regclass,
  CASE WHEN c.relnamespace::regnamespace::text = 'repack'
       THEN 'A pg_repack was killed: DROP EXTENSION pg_repack CASCADE; CREATE EXTENSION pg_repack;'
       WHEN c.relkind = 'm' THEN format('DROP MATERIALIZED VIEW %s; and create it anew afterwards.', c.oid::regclass)
       ELSE format('ALTER TABLE %s ALTER COLUMN %I TYPE jsonb USING to_jsonb(%2$I); what writes it then needs to_jsonb(), too.',
                   c.oid::regclass, a.attname) END)
FROM types t
JOIN pg_attribute a ON a.atttypid = t.oid AND NOT a.attisdropped
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm', 'p')
WHERE $5 ~ 'ADD COLUMN [^\n]* DEFAULT|ALTER COLUMN [^\n]* TYPE '
UNION ALL -- what the server refuses while it is there
SELECT DISTINCT 'conflict', '', format(E'%s uses column %I, which would be refused\nDrop it, make the change, and create it anew; by '
  'psql in one transaction nobody is without it.', pg_describe_object(d.classid, d.objid, 0), a.attname)
FROM regexp_matches($5::text, '(?:DROP COLUMN|ALTER COLUMN(?=[^\n]* TYPE )(?![^\n]* USING )) ("(?:[^"]|"")+"|\w+)', 'g') changed
JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = (parse_ident(changed[1]))[1]
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = a.attnum AND d.deptype = 'n'
WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_trigger'::regclass, 'pg_proc'::regclass,
                    to_regclass('pg_catalog.pg_publication_rel'))

UNION ALL -- nothing in the data tells a value that is spent from one that has not moved yet
SELECT 'warning', old, format(CASE WHEN moves THEN '%s people''s %I would move into %I and work again, and nothing tells which '
         'are spent. To clear all of these before%s: UPDATE %s SET %2$I = %6$s %7$s;'
       ELSE '%s people''s %I would go into the archive, as %I holds ' || why || ', have them move%s: '
         'ALTER TABLE %s ALTER COLUMN %3$I DROP NOT NULL; UPDATE %5$s SET %3$I = NULL %7$s;' END, n, old, new,
         CASE WHEN row_security_active($1) THEN ', as a role from which row-level security hides nothing' END,
         $1::regclass, split_part(condition, '::pg_catalog.text <> ', 2), condition)
FROM rename JOIN pg_attribute f ON f.attrelid = $1 AND f.attname = flag AND f.atttypid = 'bool'::regtype
JOIN regexp_split_to_table($5, '\n') step ON position(format(' SET %I = %I::', new, old) IN step) > 0
CROSS JOIN (VALUES (true, '%I IS NULL', ''),
  (false, '%I::text IN ('''', ''[]'', ''{}'')', 'none, but is not NULL; where they were not spent'),
  (false, '%1$I::text NOT IN ('''', ''[]'', ''{}'') AND %1$I::text <> %2$I::text', 'others; where the old ones are the fresher')
) is_none (moves, format, why)
CROSS JOIN LATERAL replace(split_part(substring(step FROM position(format('WHERE %I IS NULL', new) IN step)), ' /*', 1),
                           format('%I IS NULL', new), format(is_none.format, new, old)) w (condition)
CROSS JOIN LATERAL (SELECT CASE WHEN row_security_active($1) THEN 'an unknown number of'
  WHEN has_table_privilege($1, 'SELECT') THEN substring(query_to_xml(format(
    'SELECT count(*) AS n FROM %s %s', $1::regclass, condition), false, false, '')::text FROM '<n>(\d+)') END) c (n)
WHERE n <> '0' AND (moves OR NOT row_security_active($1))
UNION ALL
SELECT 'warning', '', format('%s is there already, and never overwritten: the change is refused where values would go into it. Look '
                             'into it, then rename or drop it', archive[1])
FROM regexp_matches($5::text, 'CREATE TABLE (\S+) AS ', 'g') archive WHERE to_regclass(archive[1]) IS NOT NULL
UNION ALL
SELECT 'warning', g.name, format('with column %I goes %s: it does not come back with it', g.name, what)
FROM gone g JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = g.name AND g.other IS NULL
CROSS JOIN LATERAL (
  SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
  WHERE refclassid = 'pg_class'::regclass AND refobjid = $1 AND refobjsubid = a.attnum AND deptype = 'a'
    AND classid <> 'pg_attrdef'::regclass AND objid NOT IN (SELECT oid FROM pg_constraint WHERE contype = 'n')
  UNION ALL
  SELECT concat('GRANT ', privilege_type, ' TO ', coalesce(quote_ident(r.rolname), 'PUBLIC'))
  FROM aclexplode(a.attacl) LEFT JOIN pg_roles r ON r.oid = grantee
) d (what)
UNION ALL -- a plain index is not built anew where a varchar becomes wider
SELECT DISTINCT 'warning', a.attname, format('%s is built or checked anew while readers wait, as %I gets another type. Drop it '
         'before, and make it again afterwards: CREATE INDEX CONCURRENTLY, or ADD CONSTRAINT ... NOT VALID and VALIDATE CONSTRAINT',
         pg_describe_object(d.classid, d.objid, 0), a.attname)
FROM tree JOIN pg_attribute a ON a.attrelid = tree.oid AND pg_relation_size(tree.oid) > 1048576
JOIN regexp_matches($5::text, 'ALTER COLUMN ("(?:[^"]|"")+"|\w+) TYPE', 'g') widened ON a.attname = (parse_ident(widened[1]))[1]
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = tree.oid AND d.refobjsubid = a.attnum
LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR k.contype = 'c'
UNION ALL -- not of triggers: at those the program itself looks
SELECT 'warning', g.name, format('%s has %s in its text, and may fail or pass over it from then on', t.what, g.name)
FROM gone g CROSS JOIN LATERAL (
  SELECT '\m' || regexp_replace(g.name, '\W', '\\\&', 'g') || '\M', '\m' || regexp_replace(g.other, '\W', '\\\&', 'g') || '\M'
) word (name, other)
JOIN (
  SELECT format('function %s', p.oid::regprocedure), p.prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.prorettype <> 'trigger'::regtype AND p.pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
    AND l.lanname NOT IN ('internal', 'c')
  UNION ALL -- the strings of a view, as in to_jsonb(t) - 'name': its columns follow a rename
  SELECT DISTINCT format('view %s', ev_class::regclass),
    array_to_string(ARRAY(SELECT regexp_matches(pg_get_viewdef(ev_class), '''[^'']*''', 'g')), ' ')
  FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
  WHERE ev_class <> $1
) t (what, source) ON t.source ~* word.name AND NOT coalesce(regexp_replace(t.source, word.name, '', 'gi') ~* word.other, false)
UNION ALL -- by name, as temporal_tables and jsonb_populate_record() do
SELECT DISTINCT 'warning', g.name, format('%s has a column %I as well: where trigger %I writes rows to it by name, rename it there in '
                                          'the same moment, or it stays empty from then on', c.oid::regclass, g.name, tgname)
FROM gone g JOIN pg_trigger ON tgrelid = $1 AND NOT tgisinternal JOIN pg_proc p ON p.oid = tgfoid
JOIN pg_attribute a ON a.attname = g.name AND NOT attisdropped JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
WHERE c.oid NOT IN (SELECT oid FROM tree) AND NOT EXISTS ( -- in another schema: it means the one beside the table
    SELECT FROM pg_class x JOIN pg_class y ON y.relnamespace = x.relnamespace WHERE x.oid = $1 AND y.relname = c.relname AND y.oid <> c.oid)
  AND position(c.relname::text IN concat(p.prosrc, ' ', encode(tgargs, 'escape'))) > 0
UNION ALL -- pglogical has names; and its senders go on with the old list until ANALYZE makes them read the table's again
SELECT 'warning', g.old, CASE WHEN has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  THEN format('column %I leaves the stream of pglogical''s replication set ', g.old) || substring(query_to_xml(format(
      'SELECT string_agg(set_name::text, '', '') AS n FROM %I.replication_set_table JOIN %1$I.replication_set USING (set_id) '
      'WHERE set_reloid = %s AND %L = ANY (set_att_list)', s.nspname, $1, g.old), false, false, '')::text FROM '<n>([^<]*)')
    || format(', and no error says so. Right after the change: UPDATE pglogical.replication_set_table SET set_att_list = '
              'array_replace(set_att_list, %L, %L) WHERE set_reloid = %L::regclass; ANALYZE %3$s;', g.old, g.new, $1::regclass)
  ELSE format('pglogical is here, and this role may not see whether a replication set lists column %I', g.old) END
FROM (SELECT name, coalesce(other, new) FROM gone LEFT JOIN rename ON name = old) g (old, new)
JOIN pg_namespace s ON s.nspname = 'pglogical' AND g.new IS NOT NULL
JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = 'replication_set_table'
UNION ALL
SELECT 'warning', '', line FROM (
  SELECT format('%s rewrites the table (%s): readers wait, and a pg_dump that has begun by then, but not come to it yet, saves '
                'it without a row', what, pg_size_pretty(pg_table_size($1))) AS line
  FROM (VALUES
    (current_setting('server_version_num')::integer < 110000 AND $5 ~ 'ADD COLUMN [^\n]* DEFAULT',
     'before PostgreSQL 11 a column with a default'),
    ($5 ~ 'ALTER COLUMN [^\n]* TYPE [^\n]* USING ', 'a column that becomes narrow again')) rewrite (applies, what) WHERE applies
  UNION ALL
  SELECT format('only %s more columns are possible: a table has 1,600 numbers, and dropped ones keep theirs', 1600 - max(attnum))
  FROM pg_attribute WHERE attrelid = $1 HAVING max(attnum) > 1500
  UNION ALL
  SELECT concat(what, '. Migrate the server that publishes first, then the subscribers at once: one without the columns (or the '
                'tables beside it, where all are published) stops at the next write, until it has them')
  FROM (
    SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
    WHERE refclassid = 'pg_class'::regclass AND refobjid = $1 AND refobjsubid = 0
      AND classid = to_regclass('pg_catalog.pg_publication_rel')
    UNION ALL
    SELECT format('the logical replication slot %s decodes this database', slot_name)
    FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()
    UNION ALL
    SELECT 'the table is fed by a subscription'
    WHERE to_regclass('pg_catalog.pg_subscription_rel') IS NOT NULL -- from 10 on
      AND query_to_xml(format('SELECT 1 FROM pg_catalog.pg_subscription_rel WHERE srrelid = %s', $1),
                       false, false, '')::text LIKE '%<row%'
  ) replicated (what)
) others WHERE $5 ~ '(ADD|DROP|RENAME) COLUMN'

UNION ALL -- constraints over what the application writes
SELECT CASE WHEN is_not_null THEN 'refusal' ELSE 'check' END, a.attname,
       format(CASE WHEN is_not_null
              THEN 'constraint %s refuses NULL, which the application stores: ALTER TABLE %s DROP CONSTRAINT %1$s;'
              ELSE 'constraint %s of %s may refuse what the application stores: %s' END,
              quote_ident(k.conname), k.conrelid::regclass, pg_get_constraintdef(k.oid))
FROM pg_constraint k
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
JOIN declared d ON d.name = a.attname
CROSS JOIN LATERAL (SELECT pg_get_expr(k.conbin, k.conrelid) = format('(%I IS NOT NULL)', a.attname)) e (is_not_null)
WHERE (k.conrelid = $1 OR k.conrelid IN (SELECT oid FROM tree) AND k.coninhcount = 0) AND k.contype = 'c'
  AND (is_nullable OR NOT is_not_null)
  AND to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
UNION ALL
SELECT 'refusal', a.attname, format('type %s refuses NULL, which the application stores: ALTER DOMAIN %1$s DROP NOT NULL;', y.oid::regtype)
FROM declared d JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = d.name
JOIN pg_type y ON y.oid = a.atttypid AND y.typnotnull WHERE is_nullable
UNION ALL -- a role with grants on columns gets nothing on one that is added; in a GRANT each word has a list of its own
SELECT 'privilege', a.attname, format(
  '%I may not read and write %I: GRANT SELECT (%2$I), INSERT (%2$I), UPDATE (%2$I) ON %s TO %1$I;',
  $4 ->> 'role', a.attname, a.attrelid::regclass)
FROM declared d JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = d.name
CROSS JOIN unnest('{SELECT,INSERT,UPDATE}'::text[]) word
GROUP BY a.attname, a.attrelid HAVING NOT bool_and(has_column_privilege(($4 ->> 'role')::name, a.attrelid, a.attname, word))

UNION ALL
SELECT 'hint', '', format('Django has not recorded its own migration. So that it does not try again: '
                          'python manage.py migrate %s %s --fake', app, migration)
FROM (SELECT $4 -> 'django' ->> 'app', $4 -> 'django' ->> 'migration') x (app, migration)
JOIN pg_class c ON c.oid = $1 JOIN pg_class m ON m.relnamespace = c.relnamespace AND m.relname = 'django_migrations'
WHERE app <> '' AND has_table_privilege(m.oid, 'SELECT') AND query_to_xml(format(
  'SELECT 1 FROM %s WHERE app = %L AND name = %L', m.oid::regclass, app, migration), false, false, '')::text NOT LIKE '%<row%'
UNION ALL
SELECT 'hint', new, format('%s is %s, as %s was; the application''s model says %s. %s. At a quiet hour, as it rewrites the table, '
                           'and without an index on it: ALTER TABLE %s ALTER COLUMN %1$I TYPE %4$s%7$s;',
                           new, found, old, type, CASE WHEN found ~ '^jsonb{0,1}$' THEN 'All works but saving an empty string'
                             ELSE 'It may refuse what the application stores' END,
                           attrelid::regclass, CASE WHEN found ~ '\]$' THEN format(' USING to_json(%I)::%s', new, type) END)
FROM rename JOIN pg_attribute ON attrelid = $1 AND attname = new CROSS JOIN LATERAL format_type(atttypid, atttypmod) t (found)
WHERE found NOT IN (type, 'character varying', 'bytea') -- as text that would be another value

UNION ALL -- Knex's own source of migrations records them with .js or .ts, ours without
SELECT 'record', '', coalesce(substring(query_to_xml(format(
  'SELECT max(name) AS n FROM %s WHERE regexp_replace(name, ''^\d+_|\.\w+$'', '''', ''g'') = ANY (%L)', $2::regclass, names),
  false, false, '')::text FROM '<n>([^<]*)'), '')
FROM (SELECT ARRAY[$4 -> 'knex' ->> 'endsWith', regexp_replace($4 -> 'knex' ->> 'migration', '^\d+_', '')]) x (names)
WHERE $4 ? 'knex' AND has_table_privilege($2::oid, 'SELECT')
UNION ALL -- is_locked, committed: down or rollback at work, or killed (never latest). Two rows Knex refuses as well
SELECT 'lock', '', CASE WHEN EXISTS (
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE l.locktype = 'advisory' AND l.objid = $6::oid AND l.granted) THEN 'held'
  WHEN query_to_xml(format('SELECT 1 FROM %s HAVING count(*) > 1 OR sum(is_locked) > 0', $3::regclass),
                    false, false, '')::text LIKE '%<row%' THEN 'stale' ELSE 'free' END
WHERE has_table_privilege($3::oid, 'SELECT')
