-- user_profiles: take back change 0016 (add 10 columns, rename backup_codes to mfa_backup_codes)
--
-- What      Brings user_profiles back to the shape that add_security_fields.sql or Knex found. It is kept in
--           user_profiles_0016_before; without that table nothing is changed. Columns that were there before stay,
--           with their values. Values of columns that go are kept in user_profiles_0016_down_archive, and come back
--           when the change is made again.
-- Run       psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f remove_security_fields.sql
--           Or open it in any client and execute it as a whole. All or nothing, and safe to repeat. psql's exit code
--           is 0 when it is done, and 3 when it was refused or has given up, with nothing changed. To see what it
--           would do: -c BEGIN before -f, and -c ROLLBACK behind it.
-- Check     It ends with a report, a row a column. A second run says "nothing to do".
-- Again     psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f add_security_fields.sql
-- Needs     PostgreSQL 9.5 or later, the primary. The table's owner, or a member of that role, with CREATE on the
--           table's schema. READ COMMITTED, the server's own default. The table is looked up on the search_path. A
--           statement_timeout would end it, with nothing changed: -c 'SET statement_timeout = 0' before -f.
-- Locks     It prepares while everybody reads and writes. Then others wait for as long as the server needs for the
--           work itself. It does not stand in their way to get there: a try that meets a long transaction gives up,
--           says who holds the table, and is repeated. In a transaction of your own (BEGIN, psql -1) the locks last
--           until your COMMIT. Where many rows have values to archive or to get back, that is a second and more:
--           Knex does it outside of the lock, in transactions of its own, and a script has one.
-- Knex      npx knex migrate:down sends the same program. Where Knex has recorded the migration, run it afterwards:
--           it finds nothing left to do and deletes the record, with which migrate:latest would do nothing.
--
--   Column                        Type                                            Null  Default
--   failed_login_attempts         integer                                         no    0
--   account_locked_until          timestamp with time zone                        yes
--   password_reset_token          character varying(255)                          yes
--   password_reset_token_expires  timestamp with time zone                        yes
--   last_password_change          timestamp with time zone                        yes
--   email_verification_token      character varying(255)                          yes
--   email_verified                boolean                                         no    false
--   email_verified_at             timestamp with time zone                        yes
--   auth_provider                 character varying(50)                           yes
--   external_id                   character varying(255)                          yes
--   mfa_backup_codes              as backup_codes (or text, where there is none)  yes
--
-- In this file, in this order:
--
--   How long all tries wait, and how long one: the numbers that somebody may want to change
--   1. Why the change cannot be made here (refusals)
--   2. What is to be locked, and who holds it (relations, holders)
--   3. to 5. What is found, what is wanted, and the steps from the one to the other (rules): one SELECT, the heart
--   1. to 9. The program: a loop of tries, and what is done in one try
--   The report
--
-- Rendered from the declaration with "npm run script": change that, and not this file.

DO $program$
#variable_conflict use_column -- in a query a name means a column before a variable
DECLARE
  -- How long all tries wait.
  deadline      CONSTANT pg_catalog.interval := '120 s'; -- no new try later than this
  first_sleep   CONSTANT pg_catalog.interval := '250 ms'; -- after a failed try; doubles with every further one
  longest_sleep CONSTANT pg_catalog.interval := '2000 ms';
  jitter        CONSTANT pg_catalog.float8 := 0.25; -- a sleep is longer or shorter by up to this share

  path    CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  started CONSTANT pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  tries   pg_catalog.int4 := 0;
  sleep   pg_catalog.interval;
  message pg_catalog.text;
  detail  pg_catalog.text;
  hint    pg_catalog.text;

  -- How long one try waits for its locks.
  lock_budget CONSTANT pg_catalog.interval := '200 ms'; -- in all, for those that make others wait
  patience    CONSTANT pg_catalog.interval := '500 ms'; -- for the one that does not, beyond deadlock_timeout

  -- 1. Why the change cannot be made here; no row where it can.
  refusals CURSOR FOR
    SELECT replace(problem, '%s', 'user_profiles') AS problem, advice, blind
    FROM (SELECT nullif(current_setting('table_change.target'), '')::oid AS oid) wanted
    LEFT JOIN pg_class c ON c.oid = wanted.oid
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_roles o ON o.oid = c.relowner
    LEFT JOIN pg_roles me ON me.rolname = current_user
    CROSS JOIN LATERAL (VALUES
      (1, false, pg_is_in_recovery(),
       'this server is a standby: it cannot be changed, and %s is changed on its primary',
       'Connect to the primary and run it there; the standby follows by itself.'),
      (2, false, current_setting('transaction_read_only') = 'on',
       'this session is read-only, so %s cannot be changed',
       'See where that comes from: '
       'SELECT source, setting FROM pg_settings WHERE name = ''default_transaction_read_only'';'),
      (3, false, current_setting('transaction_isolation') <> 'read committed',
       'this transaction is ' || upper(current_setting('transaction_isolation'))
         || ': it would go on seeing %s as it was before the lock',
       'Run it under READ COMMITTED: SET default_transaction_isolation = ''read committed''; then again.'),
      (4, true, c.oid IS NULL,
       'there is no table %s on the search_path of ' || quote_ident(current_user)
         || ' in database ' || quote_ident(current_database()),
       'Run the application''s migrations up to 0015 first (or, not in production, npx knex seed:run). '
       'If the table is in another schema, name it: DB_SCHEMA=... or SET search_path.'),
      (5, true, c.relkind NOT IN ('r', 'p'),
       '%s is a ' || CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                                    WHEN 'f' THEN 'foreign table'
                                    ELSE 'relation of kind "' || c.relkind::text || '"' END || ', not a table',
       'Name the schema of the table itself: DB_SCHEMA=... or SET search_path. '
       'A foreign table is changed on its own server.'),
      (6, true, c.relpersistence = 't',
       '%s is a temporary table of this session, which hides the real one',
       'Drop the temporary table or use a new session, then run it again.'),
      (7, true, to_jsonb(c) ->> 'relispartition' = 'true',
       '%s is a partition',
       'Change the partitioned table that it belongs to: its partitions follow.'),
      (8, false, NOT pg_has_role(c.relowner, 'USAGE'),
       '%s belongs to ' || quote_ident(o.rolname)
         || ', and only its owner may alter it; this session is ' || quote_ident(current_user),
       'Run it as ' || quote_ident(o.rolname) || ', or as a member of that role.'),
      (9, false, NOT (me.rolsuper OR has_schema_privilege(o.oid, n.oid, 'CREATE')),
       'the way back from the change to %s is kept in a table beside it, and ' || quote_ident(o.rolname)
         || ' may not create one in schema ' || quote_ident(n.nspname),
       -- No format(): its %I fails where there is no table.
       'As the owner of the schema: GRANT CREATE ON SCHEMA ' || quote_ident(n.nspname)
         || ' TO ' || quote_ident(o.rolname) || '; it can be revoked after the last step.')
    ) reason (place, blind, applies, problem, advice)
    WHERE applies
    ORDER BY place;

  -- 2. What is to be locked, and who holds it.
  relations CURSOR FOR
    WITH RECURSIVE tree (oid, depth) AS (
      SELECT nullif(current_setting('table_change.target'), '')::oid, 0
      UNION ALL
      SELECT i.inhrelid, t.depth + 1 FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
    )
    SELECT format('%I.%I', n.nspname, c.relname) AS sql_name
    FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    GROUP BY n.nspname, c.relname, c.oid
    ORDER BY min(tree.depth), c.oid;
  holders CURSOR (asked_mode pg_catalog.text, asked pg_catalog.timestamptz)
    FOR
    WITH RECURSIVE tree (oid, depth) AS (
      SELECT nullif(current_setting('table_change.target'), '')::oid, 0
      UNION ALL
      SELECT i.inhrelid, t.depth + 1 FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
    ),
    holder AS (
      SELECT DISTINCT l.pid, a.usename, a.application_name, a.state, a.xact_start,
             split_part(regexp_replace(a.query, '(''|\$([^0-9$][^$]*)?\$).*', '''...'), chr(10), 1) AS first_line
      FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'relation' AND l.relation IN (SELECT oid FROM tree) AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND (asked_mode = 'ACCESS EXCLUSIVE' OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
        AND coalesce(a.xact_start < asked, true)
    )
    SELECT string_agg(
             CASE WHEN pid IS NULL THEN 'a prepared transaction (see pg_prepared_xacts)'
                  ELSE format('pid %s, user %s%s, %s', pid, coalesce(usename, 'unknown'),
                         ', application ' || quote_literal(nullif(application_name, '')),
                         CASE WHEN state IS NULL THEN 'state hidden from this role'
                              ELSE format('%s, transaction open for %s s: %s', state,
                                     round(extract(epoch FROM clock_timestamp() - xact_start)::numeric, 1),
                                     left(first_line, 100)) END)
             END, chr(10) ORDER BY xact_start) AS holders,
           string_agg('SELECT pg_terminate_backend(' || pid || ');', ' ' ORDER BY xact_start) AS remedy
    FROM holder;

  -- 3. to 5. What is found, what is wanted, and the steps from the one to the other.
  rules CURSOR FOR
    WITH RECURSIVE
    tree (oid, depth) AS (
      SELECT nullif(current_setting('table_change.target'), '')::oid, 0
      UNION ALL
      SELECT i.inhrelid, t.depth + 1 FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
    ),
    -- Set it to true to go on although a trigger function reads a column that changes its name.
    ignoring (dependents) AS (VALUES (false)),
    -- Whether a part of the work may be committed, as by Knex. In a script it may not: then no rule gives a step of
    -- the phases stage, batch, refill and again.
    batches (allowed) AS (VALUES (false)),

    -- What is declared: the columns to add, and the one to rename.
    declared (place, name, type, not_null, default_expr) AS (
      VALUES
        (1, 'failed_login_attempts', 'integer', true, '0'::text),
        (2, 'account_locked_until', 'timestamp with time zone', false, NULL::text),
        (3, 'password_reset_token', 'character varying(255)', false, NULL::text),
        (4, 'password_reset_token_expires', 'timestamp with time zone', false, NULL::text),
        (5, 'last_password_change', 'timestamp with time zone', false, NULL::text),
        (6, 'email_verification_token', 'character varying(255)', false, NULL::text),
        (7, 'email_verified', 'boolean', true, 'false'::text),
        (8, 'email_verified_at', 'timestamp with time zone', false, NULL::text),
        (9, 'auth_provider', 'character varying(50)', false, NULL::text),
        (10, 'external_id', 'character varying(255)', false, NULL::text)
    ),
    renaming (from_name, to_name, type, move_where, empty) AS (
      VALUES ('backup_codes', 'mfa_backup_codes', 'text', 'mfa_enabled', '[]')
    ),
    -- What a column is called while it is put aside, its values on their way to or from the archive, and the
    -- application must not see it. A name has 63 bytes.
    putting (name, aside) AS (
      SELECT * FROM (SELECT name, name || '_0016_aside' FROM declared) p (name, aside)
      WHERE octet_length(aside) <= 63
    ),
    concerned (name) AS (
      SELECT name FROM declared
      UNION ALL
      SELECT aside FROM putting
      UNION ALL
      SELECT unnest(ARRAY[from_name, to_name]) FROM renaming
    ),

    -- The table. Its key: the primary key, which inheritance (unlike partitioning) does not extend to children.
    this AS (
      SELECT c.oid, n.nspname AS schema, format('%I.%I', n.nspname, c.relname) AS sql_name,
             o.rolname AS owner, c.relforcerowsecurity AND NOT (me.rolsuper OR me.rolbypassrls) AS forced,
             size.bytes, size.total, size.relations,
             (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum)
              FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
              WHERE k.conrelid = c.oid AND k.contype = 'p' -- conkey leaves out what the index includes besides
                AND (c.relkind = 'p' OR NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhparent = c.oid))) AS key,
             (SELECT max(a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid) AS last_attnum
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_roles o ON o.oid = c.relowner
      JOIN pg_roles me ON me.rolname = current_user
      CROSS JOIN (SELECT sum(pg_relation_size(oid)) AS bytes, sum(pg_total_relation_size(oid)) AS total,
                         count(*) AS relations FROM tree) size
      WHERE c.oid = nullif(current_setting('table_change.target'), '')::oid
    ),

    -- Our own tables beside it, where they exist: the shape before up, and the values that each way put aside.
    ours AS (
      SELECT r.role, format('%I.%I', this.schema, r.name) AS sql_name, r.name, c.oid
      FROM this
      CROSS JOIN (VALUES
        ('before', 'user_profiles_0016_before'),
        ('up_archive', 'user_profiles_0016_up_archive'),
        ('down_archive', 'user_profiles_0016_down_archive')
      ) r (role, name)
      LEFT JOIN pg_namespace n ON n.nspname = this.schema
      LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = r.name
    ),

    -- The shape of every column of these tables. attidentity and attgenerated are read through to_jsonb,
    -- because older catalogs lack them. not_null: NULL where it was never proved (18), and holds for new values only.
    shape AS (
      SELECT s.role, a.attname::text AS name, a.attnum, a.attinhcount, t.type, t.family, t.width,
             coalesce((SELECT format(' COLLATE %I.%I', n.nspname, l.collname)
                       FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                       JOIN pg_type y ON y.oid = a.atttypid
                       WHERE l.oid = a.attcollation AND a.attcollation <> y.typcollation), '') AS collate_as,
             CASE WHEN NOT EXISTS (
               SELECT 1 FROM pg_constraint k
               WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated
             ) THEN a.attnotnull END AS not_null,
             pg_get_expr(d.adbin, d.adrelid) AS default_expr,
             CASE WHEN to_jsonb(a) ->> 'attgenerated' IN ('s', 'v') THEN 'a generated column'
                  WHEN to_jsonb(a) ->> 'attidentity' IN ('a', 'd') THEN 'an identity column' END AS special,
             col_description(a.attrelid, a.attnum) AS comment
      FROM (SELECT 'found' AS role, oid FROM this UNION ALL SELECT role, oid FROM ours) s
      JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      CROSS JOIN LATERAL (SELECT format_type(a.atttypid, a.atttypmod)) f (type)
      CROSS JOIN LATERAL (
        SELECT f.type,
               CASE WHEN f.type = 'text' OR f.type ~ '^character varying(\([0-9]+\))?$' THEN 'text'
                    WHEN f.type IN ('smallint', 'integer', 'bigint') THEN 'integer' END,
               CASE WHEN f.type ~ '^character varying\([0-9]+\)$' THEN substring(f.type FROM '[0-9]+')::integer
                    WHEN f.type IN ('text', 'character varying') THEN 2147483647
                    WHEN f.type = 'smallint' THEN 2
                    WHEN f.type = 'integer' THEN 4
                    WHEN f.type = 'bigint' THEN 8 END
      ) t (type, family, width)
    ),

    -- The shape that is wanted, and what fills a NULL where none may be.
    wanted (place, name, type, collate_as, not_null, default_expr, fill) AS (
      SELECT coalesce(declared.place, 1000), b.name, b.type, b.collate_as, b.not_null, b.default_expr,
             coalesce(CASE WHEN b.type IN ('json', 'jsonb') OR b.family = 'text' AND b.width >= length(empty)
                           THEN quote_literal(empty) END,
                      b.default_expr, declared.default_expr)
      FROM shape b
      LEFT JOIN declared ON declared.name = b.name
      LEFT JOIN renaming ON b.name IN (from_name, to_name)
      WHERE b.role = 'before'
    ),

    -- One name gives its column to the other where only the giver is there and only the taker is wanted.
    handover (giver, taker) AS (
      SELECT to_name, from_name FROM renaming
    ),
    renamed AS (
      SELECT giver, taker FROM handover
      WHERE EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = giver)
        AND NOT EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = taker)
        AND EXISTS (SELECT 1 FROM wanted WHERE name = taker)
        AND NOT EXISTS (SELECT 1 FROM wanted WHERE name = giver)
    ),

    -- Every column concerned. verdict: add, drop, same, widen, leave (it holds all that is wanted), narrow,
    -- foreign (a type that cannot be brought to the wanted one without loss or a rewrite).
    compared AS (
      SELECT coalesce(w.place, f.place, 1000) AS place, coalesce(w.name, f.name) AS name, f.name AS found_name,
             f.attnum, f.attinhcount, f.type, f.collate_as, f.not_null, f.default_expr, f.special, f.comment,
             w.type AS wanted_type, w.collate_as AS wanted_collate, w.not_null AS wanted_not_null,
             w.default_expr AS wanted_default, w.fill,
             replace(replace(coalesce(f.special, f.type),
               'character varying', 'varchar'), 'timestamp with time zone', 'timestamptz') AS short_type,
             replace(replace(w.type,
               'character varying', 'varchar'), 'timestamp with time zone', 'timestamptz') AS wanted_short_type,
             CASE
               WHEN f.name IS NULL THEN 'add'
               WHEN w.name IS NULL THEN 'drop'
               WHEN f.special IS NOT NULL THEN 'foreign'
               WHEN f.type = w.type THEN 'same'
               WHEN f.family = 'text' AND f.family = v.family AND f.width < v.width THEN 'widen'
               WHEN f.family = 'text' AND f.family = v.family AND f.width > v.width THEN 'narrow'
               WHEN f.type IN ('text', 'json', 'jsonb') AND w.type IN ('text', 'json', 'jsonb') THEN 'leave'
               WHEN f.family = v.family AND f.width >= v.width THEN 'leave'
               ELSE 'foreign'
             END AS verdict,
             f.type = w.type OR f.family = v.family AS akin, v.family AS wanted_family, v.width AS wanted_width,
             -- pg_get_expr() prints 'x' as 'x'::character varying, and -1 as '-1'::integer.
             btrim(regexp_replace(f.default_expr, '::[a-z ]+(\([0-9,]+\))?$', ''), '''')
             IS NOT DISTINCT FROM btrim(regexp_replace(w.default_expr, '::[a-z ]+(\([0-9,]+\))?$', ''), '''')
               AS same_default
      FROM wanted w
      CROSS JOIN LATERAL (
        SELECT w.type,
               CASE WHEN w.type = 'text' OR w.type ~ '^character varying(\([0-9]+\))?$' THEN 'text'
                    WHEN w.type IN ('smallint', 'integer', 'bigint') THEN 'integer' END,
               CASE WHEN w.type ~ '^character varying\([0-9]+\)$' THEN substring(w.type FROM '[0-9]+')::integer
                    WHEN w.type IN ('text', 'character varying') THEN 2147483647
                    WHEN w.type = 'smallint' THEN 2
                    WHEN w.type = 'integer' THEN 4
                    WHEN w.type = 'bigint' THEN 8 END
      ) v (type, family, width)
      FULL JOIN (
        SELECT coalesce(r.taker, s.name) AS future_name, d.place, s.*
        FROM shape s LEFT JOIN renamed r ON r.giver = s.name LEFT JOIN declared d ON d.name = s.name
        WHERE s.role = 'found' AND s.name IN (SELECT name FROM concerned)
          -- Without the shape before up nothing is ours to take back.
          AND EXISTS (SELECT 1 FROM ours WHERE role = 'before' AND oid IS NOT NULL)
      ) f ON f.future_name = w.name
    ),

    -- Objects that depend on a column that changes its type or goes, with the first line of their definition.
    -- along: DROP COLUMN takes them along.
    dependent AS (
      SELECT d.attnum, d.catalog, d.objid, d.along,
             coalesce(v.what, d.what) || coalesce(': ' || left(split_part(btrim(CASE d.catalog
               WHEN 'pg_rewrite' THEN coalesce(v.definition, pg_get_ruledef(d.objid))
               WHEN 'pg_trigger' THEN pg_get_triggerdef(d.objid)
               WHEN 'pg_constraint' THEN pg_get_constraintdef(d.objid)
               WHEN 'pg_class' THEN CASE WHEN d.objsubid = 0 THEN pg_get_indexdef(d.objid) END
             END), chr(10), 1), 80), '') AS what
      FROM (
        SELECT d.refobjsubid AS attnum, d.classid::regclass::text AS catalog, d.objid, d.objsubid,
               pg_describe_object(d.classid, d.objid, d.objsubid) AS what, bool_or(d.deptype IN ('a', 'i')) AS along
        FROM pg_depend d CROSS JOIN this
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = this.oid
          AND d.refobjsubid IN (SELECT attnum FROM compared WHERE verdict IN ('drop', 'widen', 'narrow'))
        GROUP BY d.refobjsubid, d.classid, d.objid, d.objsubid
      ) d
      LEFT JOIN LATERAL (
        SELECT pg_describe_object('pg_class'::regclass, w.ev_class, 0) AS what,
               pg_get_viewdef(w.ev_class) AS definition
        FROM pg_rewrite w WHERE d.catalog = 'pg_rewrite' AND w.oid = d.objid AND w.rulename = '_RETURN'
      ) v ON true
      -- A column's own default is no dependent, nor is (from 18) its own NOT NULL.
      WHERE NOT EXISTS (SELECT 1 FROM pg_attrdef e
                        WHERE d.catalog = 'pg_attrdef' AND e.oid = d.objid AND e.adnum = d.attnum)
        AND NOT EXISTS (SELECT 1 FROM pg_constraint k
                        WHERE d.catalog = 'pg_constraint' AND k.oid = d.objid AND k.contype = 'n')
    ),
    blocker AS (
      SELECT c.name, c.found_name, c.place, c.verdict, string_agg(d.what, '; ' ORDER BY d.what) AS what
      FROM compared c JOIN dependent d ON d.attnum = c.attnum
      WHERE CASE c.verdict
              WHEN 'drop' THEN NOT d.along
              -- A generated column is a part of pg_class, an index is not; indexes survive.
              ELSE d.catalog IN ('pg_rewrite', 'pg_policy', 'pg_trigger', 'pg_attrdef', 'pg_proc',
                                 'pg_publication_rel')
                OR d.what LIKE 'column %'
            END
      GROUP BY c.name, c.found_name, c.place, c.verdict
    ),

    -- Functions whose text has the name of a column that goes, and what they are to the table: fatal where the
    -- function is a trigger's and takes the column out of the row, which fails at every write.
    reading AS (
      SELECT DISTINCT g.place, g.name, p.oid::regprocedure::text AS what, t.oid IS NOT NULL AS by_trigger,
             t.oid IS NOT NULL AND p.prosrc ~* ('\m(new|old)\s*\.\s*"?' || g.pattern) AS fatal,
             left(btrim((SELECT l FROM unnest(string_to_array(p.prosrc, chr(10))) l
                         WHERE l ~* ('\m' || g.pattern) LIMIT 1)), 80) AS line
      FROM (SELECT c.place, c.found_name AS name, regexp_replace(c.found_name, '(\W)', '\\\1', 'g') || '\M' AS pattern
            FROM compared c WHERE c.verdict = 'drop' OR c.found_name IN (SELECT giver FROM renamed)) g
      JOIN pg_proc p ON p.prosrc ~* ('\m' || g.pattern)
      JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
      JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      LEFT JOIN pg_trigger t ON t.tgfoid = p.oid AND t.tgrelid IN (SELECT oid FROM tree) AND t.tgenabled <> 'D'
    ),

    key_of AS (
      SELECT array_to_string(key, ', ') AS columns, 'a.' || array_to_string(key, ', a.') AS archived,
             -- The operator of the key's own type, where = would take what fits better on the search_path.
             (SELECT string_agg(format('t.%1$s %2$s a.%1$s', quote_ident(a.attname),
                                       CASE WHEN n.nspname = 'pg_catalog' THEN '='
                                            ELSE format('OPERATOR(%I.=)', coalesce(n.nspname, 'pg_catalog')) END),
                                ' AND ' ORDER BY a.attnum)
              FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
              LEFT JOIN pg_operator o ON o.oprname = '=' AND o.oprleft = y.oid AND o.oprright = y.oid
                AND o.oprnamespace = y.typnamespace
              LEFT JOIN pg_namespace n ON n.oid = o.oprnamespace
              WHERE a.attrelid = this.oid AND quote_ident(a.attname) = ANY (this.key)) AS matches
      FROM this
    ),
    batched AS (
      SELECT this.* FROM this CROSS JOIN batches
      WHERE batches.allowed AND this.bytes > 262144 AND this.key IS NOT NULL AND NOT this.forced
        -- A subscriber would ask for columns of such names.
        AND NOT EXISTS (SELECT 1 FROM pg_replication_slots
                        WHERE slot_type = 'logical' AND database = current_database())
        AND NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')
        -- With a rule no statement in WITH may change rows.
        AND NOT EXISTS (SELECT 1 FROM pg_rewrite WHERE ev_class = this.oid)
    ),

    -- Archives whose rows can still be found by the key.
    returnable AS (
      SELECT o.* FROM ours o CROSS JOIN this
      WHERE o.oid IS NOT NULL AND this.key IS NOT NULL
        AND NOT EXISTS (
          SELECT 1 FROM shape f
          WHERE f.role = 'found' AND quote_ident(f.name) = ANY (this.key)
            AND NOT EXISTS (SELECT 1 FROM shape a
                            WHERE a.role = o.role AND a.name = f.name AND (a.type = f.type OR a.family = f.family)))
    ),

    -- Values that come back; values that would go with a dropped column: which, in which rows, and how they are kept.
    going AS (
      SELECT coalesce(d.place, c.place) AS place, c.found_name, c.type, coalesce(was.name, c.found_name) AS name,
             was.name IS NOT NULL AS is_aside, p.aside,
             -- A value is what is not the default with which up would add the column again. As text where the type
             -- is another by now, or has no operator of its own.
             format(CASE WHEN d.default_expr IS NULL THEN '%1$I IS NOT NULL'
                         WHEN c.type = d.type AND c.type !~ '^(json$|character)' THEN '%1$I IS DISTINCT FROM %2$s'
                         ELSE '%1$I::text IS DISTINCT FROM (%2$s)::text' END, found_name, d.default_expr) AS holds
      FROM compared c
      LEFT JOIN putting was ON was.aside = c.found_name
      LEFT JOIN putting p ON p.name = c.found_name
      LEFT JOIN declared d ON d.name = coalesce(was.name, c.found_name)
      WHERE c.verdict = 'drop'
    ),
    archiving AS (
      SELECT string_agg(quote_ident(name), ', ' ORDER BY place, name) AS columns,
             string_agg(concat(quote_ident(found_name), CASE WHEN is_aside THEN ' AS ' || quote_ident(name) END),
                        ', ' ORDER BY place, name) AS taken,
             string_agg(holds, ' OR ' ORDER BY place, name) AS holds,
             CASE WHEN bool_or(is_aside)
                    AND EXISTS (SELECT 1 FROM returnable WHERE role = 'down_archive')
                    AND NOT EXISTS (SELECT 1 FROM going g WHERE (g.name, g.type) NOT IN
                                      (SELECT a.name, a.type FROM shape a WHERE a.role = 'down_archive'))
                  THEN 'continued'
                  WHEN bool_and(aside IS NOT NULL) AND EXISTS (SELECT 1 FROM batched)
                    AND NOT EXISTS (SELECT 1 FROM shape WHERE role = 'down_archive')
                  THEN 'begun'
                  ELSE 'at once' END AS way
      FROM going
      HAVING count(*) > 0
    ),
    given_back AS (
      SELECT o.name, o.sql_name, from_name, k.matches, p.pairs,
             format('(SELECT count(*) FROM %s t JOIN (SELECT * FROM %s) a ON %s)',
                    this.sql_name, o.sql_name, p.pairs) AS rows_back,
             format('(SELECT count(*) FROM %s)', o.sql_name) AS rows_kept
      FROM renaming CROSS JOIN this CROSS JOIN key_of k
      CROSS JOIN LATERAL (
        SELECT format('%1$s AND t.%2$I::text IS NOT DISTINCT FROM a.%2$I::text', k.matches, from_name)
      ) p (pairs)
      JOIN compared b ON b.name = from_name AND b.verdict = 'add'
      JOIN returnable o ON o.role = 'up_archive'
    ),
    narrowing AS (
      SELECT c.*, CASE WHEN this.forced THEN 'row-level security hides whether every value would fit'
                       WHEN b.what IS NOT NULL THEN 'it is used by ' || b.what
                       WHEN this.total + (this.relations - 1) * 1048576 > 16777216
                       THEN concat('it would rewrite ', pg_size_pretty(this.total),
                                   CASE WHEN this.relations > 1 THEN format(' in %s tables', this.relations) END)
                  END AS reason
      FROM compared c CROSS JOIN this LEFT JOIN blocker b ON b.name = c.name
      WHERE c.verdict = 'narrow'
    ),

    -- The rules, a SELECT each, in the order of the work: in which phase and position; about which column; in the
    -- reader's words; the statement; a query that tells whether it is sent, and what is said where not; the advice.
    rule (phase, position, place, col, words, sql, only_if, otherwise, advice) AS (
      -- A column that differs only in case would be left behind.
      SELECT 'conflict', 100, s.attnum::integer, s.name,
             format('there is a column %I, which differs from %s only in case', s.name, lower(s.name)),
             NULL::text, NULL::text, NULL::text,
             format('Rename it: ALTER TABLE %s RENAME COLUMN %I TO %I; then run this again.', this.sql_name, s.name,
                    lower(s.name) || CASE WHEN lower(s.name) IN (SELECT name FROM shape WHERE role = 'found')
                                          THEN '_old' ELSE '' END)
      FROM shape s CROSS JOIN this
      WHERE s.role = 'found' AND s.name <> lower(s.name) AND lower(s.name) IN (SELECT name FROM concerned)
      UNION ALL
      SELECT 'conflict', 105, c.place, p.aside,
             format('%s is there beside %s, and may hold values on their way', p.aside, p.name), NULL, NULL, NULL,
             format('Look into both. Where all that is needed is in %s: ALTER TABLE %s DROP COLUMN %I; '
                    'then run this again.', p.name, this.sql_name, p.aside)
      FROM putting p CROSS JOIN this JOIN compared c ON c.found_name = p.aside
      WHERE EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = p.name)
      UNION ALL
      SELECT 'conflict', 110, place, found_name,
             format('%s is inherited from another table and can only be changed there', found_name), NULL, NULL, NULL,
             'Make the change to the parent table: its children follow.'
      FROM compared WHERE attinhcount > 0
      UNION ALL
      SELECT 'conflict', 120, place, c.name,
             format('%s has a column %s of its own, and %s is to get one',
                    child.oid::regclass, c.name, this.sql_name), NULL, NULL, NULL,
             format('Rename the column of the child first: ALTER TABLE %s RENAME COLUMN %I TO %I;',
                    child.oid::regclass, c.name, c.name || '_old')
      FROM compared c CROSS JOIN this CROSS JOIN tree child
      JOIN pg_attribute a ON a.attrelid = child.oid AND a.attname = c.name AND NOT a.attisdropped
      WHERE verdict = 'add' AND (a.attislocal OR child.depth = 1)
      GROUP BY place, c.name, child.oid, this.sql_name
      UNION ALL
      -- Dropped columns keep their number, so the limit comes nearer with every up and down.
      SELECT 'conflict', 130, 0, NULL,
             format('%s columns are to be added, and only %s of the 1,600 column numbers of a table are left',
                    count(*), 1600 - this.last_attnum), NULL, NULL, NULL,
             'Columns that were dropped count too. '
             'Copy the table into a new one (pg_dump and restore) to get their numbers back.'
      FROM compared CROSS JOIN this WHERE verdict = 'add'
      GROUP BY this.last_attnum HAVING count(*) > 1600 - this.last_attnum
      UNION ALL
      SELECT 'conflict', 170, place, name,
             format('%s %s: it is used by %s', found_name,
                    CASE verdict WHEN 'drop' THEN 'cannot be dropped' ELSE 'cannot change its type' END,
                    what) AS words,
             NULL::text, NULL::text, NULL::text,
             'Drop what uses it, run this again, and create it anew.'
      FROM blocker WHERE verdict IN ('drop', 'widen')
      UNION ALL
      SELECT CASE WHEN ignoring.dependents THEN 'warning' ELSE 'conflict' END, 175, place, name,
             format('the trigger function %s reads %s from the row, so that every write would fail: %s',
                    what, name, line),
             NULL, NULL, NULL,
             CASE WHEN ignoring.dependents THEN 'Ignored, as you wish.'
                  ELSE 'Make it read the row by to_jsonb(NEW) -> ..., under both names, and run this again; '
                       'or go on knowingly: MIGRATION_IGNORE_DEPENDENTS=1, in the script ignoring (dependents).' END
      FROM reading CROSS JOIN ignoring WHERE fatal
      UNION ALL
      SELECT 'warning', 200, place, name,
             format(CASE WHEN by_trigger THEN 'the trigger function %s has %s in its text, '
                                              'and may find nothing under that name from now on: %s'
                         ELSE 'the function %s has %s in its text, and may fail when it is called: %s' END,
                    what, name, line),
             NULL, NULL, NULL, NULL
      FROM reading WHERE NOT fatal
      UNION ALL
      SELECT 'warning', 201, c.place, c.name, format('with %s goes %s', c.found_name, d.what), NULL, NULL, NULL,
             'The way back does not make it anew.'
      FROM compared c JOIN dependent d ON d.attnum = c.attnum
      WHERE c.verdict = 'drop' AND d.along
      UNION ALL
      SELECT 'warning', 201, c.place, c.name,
             format('%s is gone through while everybody waits, as %s is widened: %s', d.what, c.name,
                    pg_size_pretty(this.bytes)), NULL, NULL, NULL,
             'Drop it at a quiet hour and make it anew afterwards, or do all of it then.'
      FROM compared c CROSS JOIN this JOIN dependent d ON d.attnum = c.attnum
      WHERE c.verdict = 'widen' AND this.bytes > 16777216
        -- A CHECK, or an index that is no plain one.
        AND (d.catalog = 'pg_constraint' AND d.what ~ 'CHECK'
             OR d.objid IN (SELECT indexrelid FROM pg_index WHERE indpred IS NOT NULL OR indexprs IS NOT NULL))
      UNION ALL
      SELECT 'warning', 202, 0, NULL, pg_describe_object(d.classid, d.objid, d.objsubid), NULL, NULL, NULL,
             'A subscriber without the columns stops at the next write, and goes on once it has them: '
             'migrate this server first, then the subscribers at once.'
      FROM pg_depend d CROSS JOIN this
      WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = this.oid AND d.refobjsubid = 0
        AND d.classid::regclass::text = 'pg_publication_rel'
        AND EXISTS (SELECT 1 FROM compared WHERE verdict IN ('add', 'drop'))
      UNION ALL
      SELECT 'warning', 203, 0, NULL, format('the logical replication slot %s decodes this database', slot_name),
             NULL, NULL, NULL,
             'If the table is published to it: migrate this server first, then the subscribers at once. '
             'FOR ALL TABLES publishes the tables that are kept beside it, too: they need them.'
      FROM pg_replication_slots
      WHERE slot_type = 'logical' AND database = current_database()
        AND EXISTS (SELECT 1 FROM compared WHERE verdict IN ('add', 'drop'))
      UNION ALL
      -- By query_to_xml, because servers before 10 have no such catalog.
      SELECT 'warning', 204, 0, NULL, 'the table is fed by a subscription', NULL, NULL, NULL,
             'Migrate the server that publishes first, then this one at once.'
      FROM this
      WHERE to_regclass('pg_catalog.pg_subscription_rel') IS NOT NULL
        AND query_to_xml(format('SELECT 1 FROM pg_catalog.pg_subscription_rel WHERE srrelid = %s', this.oid),
                         false, false, '')::text LIKE '%<row%'
        AND EXISTS (SELECT 1 FROM compared WHERE verdict IN ('add', 'drop'))
      UNION ALL
      -- From 11 on a constant default costs no rewrite.
      SELECT 'note', 240, 0, NULL,
             format('before PostgreSQL 11 a column with a default rewrites the table, and readers wait: '
                    'about %s rows, %s',
                    (SELECT sum(greatest(c.reltuples, 0))::bigint FROM tree JOIN pg_class c ON c.oid = tree.oid),
                    pg_size_pretty(this.bytes)), NULL, NULL, NULL, NULL
      FROM this
      WHERE current_setting('server_version_num')::integer < 110000
        AND EXISTS (SELECT 1 FROM compared WHERE verdict = 'add' AND fill IS NOT NULL)
      UNION ALL
      SELECT 'note', 250, 0, NULL,
             format('nothing to take back: there is no table %s. %s', o.name,
                    CASE WHEN EXISTS (SELECT 1 FROM shape JOIN putting ON aside = shape.name WHERE role = 'found')
                         THEN 'Values are on their way back to the columns put aside: make the change again first'
                         ELSE 'It has been taken back already, or the columns were not added by this change' END),
             NULL::text, NULL::text, NULL::text, NULL::text
      FROM ours o WHERE o.role = 'before' AND o.oid IS NULL
      UNION ALL
      SELECT 'note', 251, place, name,
             format('leave %s as %s, though it was %s: its type has been changed since',
                    name, short_type, wanted_short_type), NULL, NULL, NULL, NULL
      FROM compared WHERE verdict IN ('leave', 'foreign') AND type <> wanted_type
      UNION ALL
      SELECT 'note', 252, place, name,
             format('leave %s as %s, though it was %s: %s', name, short_type, wanted_short_type, reason),
             NULL, NULL, NULL,
             format('At a quiet hour: ALTER TABLE %s ALTER COLUMN %I TYPE %s%s;',
                    this.sql_name, name, wanted_type, collate_as)
      FROM narrowing CROSS JOIN this WHERE reason IS NOT NULL
      UNION ALL
      SELECT 'note', 253, 0, NULL, format('%s stays: its values cannot come back by themselves', o.name),
             NULL, NULL, NULL, format('Look into it, then drop it: DROP TABLE %s;', o.sql_name)
      FROM ours o
      WHERE o.role = 'up_archive' AND o.oid IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM returnable r CROSS JOIN renaming
                        JOIN compared c ON c.name = from_name AND c.verdict = 'add' WHERE r.role = o.role)
      UNION ALL
      -- Counted is what stays filled: a trigger may have other ideas.
      SELECT 'batch', 304, place, name,
             format('fill NULLs of %s with %s, 2000 at a time, while everybody works on', found_name, fill),
             format('WITH filled AS (UPDATE %1$s t SET %2$I = %3$s FROM (SELECT %4$s FROM %1$s WHERE %2$I IS NULL '
                    'LIMIT 2000 FOR NO KEY UPDATE SKIP LOCKED) a WHERE %5$s RETURNING t.%2$I AS filled) '
                    'SELECT FROM filled WHERE filled IS NOT NULL',
                    this.sql_name, found_name, fill, k.columns, k.matches), NULL, NULL, NULL
      FROM compared CROSS JOIN batched this CROSS JOIN key_of k
      WHERE wanted_not_null AND not_null IS NOT TRUE AND fill IS NOT NULL
        AND verdict NOT IN ('add', 'drop', 'foreign')
      UNION ALL
      -- At one go: it locks no row.
      SELECT 'batch', 304, 0, NULL,
             format('archive {rows} rows with values of %s in %s, while everybody works on', a.columns, o.name),
             format('INSERT INTO %1$s (%2$s, %3$s) SELECT %2$s, %4$s FROM %5$s t '
                    'WHERE (%6$s) AND NOT EXISTS (SELECT 1 FROM %1$s a WHERE %7$s)',
                    o.sql_name, k.columns, a.columns, a.taken, this.sql_name, a.holds, k.matches),
             NULL, NULL, NULL
      FROM archiving a CROSS JOIN batched this CROSS JOIN key_of k JOIN ours o ON o.role = 'down_archive'
      WHERE a.way = 'continued'
      UNION ALL
      SELECT 'change', 305, 0, NULL,
             format('%s holds values that would be dropped, and the table has no primary key by which they could '
                    'come back', columns),
             NULL, format('SELECT EXISTS (SELECT 1 FROM %s WHERE %s)', this.sql_name, holds), NULL,
             'Add a primary key, or save and clear the values yourself.'
      FROM archiving CROSS JOIN this WHERE this.key IS NULL
      UNION ALL
      SELECT 'change', 306, 0, NULL, format('%s is there already, and an archive is never overwritten', o.name),
             NULL, format('SELECT EXISTS (SELECT 1 FROM %s WHERE %s)', this.sql_name, holds), NULL,
             format('Look into it. If its values are not needed: DROP TABLE %s; otherwise rename it. '
                    'Then run this again.', o.sql_name)
      FROM archiving CROSS JOIN this JOIN ours o ON o.role = 'down_archive' AND o.oid IS NOT NULL
      WHERE way <> 'continued'
      UNION ALL
      SELECT 'change', 320, 0, NULL,
             format(CASE way WHEN 'begun' THEN 'make an archive for values of %s: %s'
                             WHEN 'continued' THEN 'archive the last {rows} rows with values of %s in %s'
                             ELSE 'archive {rows} rows with values of %s in %s' END, a.columns, o.name),
             format(CASE way WHEN 'continued' THEN 'INSERT INTO %1$s (%2$s, %3$s) SELECT %2$s, %4$s FROM %5$s t '
                    'WHERE (%6$s) AND NOT EXISTS (SELECT 1 FROM %1$s a WHERE %7$s)'
                             WHEN 'begun' THEN 'CREATE TABLE %1$s AS SELECT %2$s, %4$s FROM %5$s WHERE false'
                             ELSE 'CREATE TABLE %1$s AS SELECT %2$s, %4$s FROM %5$s WHERE %6$s' END,
                    o.sql_name, k.columns, a.columns, a.taken, this.sql_name, holds, k.matches),
             CASE way WHEN 'at once'
                      THEN format('SELECT EXISTS (SELECT 1 FROM %s WHERE %s)', this.sql_name, holds) END,
             format('no archive: no row has a value in %s', a.columns), NULL
      FROM archiving a CROSS JOIN this CROSS JOIN key_of k JOIN ours o ON o.role = 'down_archive'
      WHERE k.columns IS NOT NULL
      UNION ALL
      SELECT 'change', 321, 0, NULL, format('close %s to everybody but %s', o.name, this.owner),
             -- A publication FOR ALL TABLES wants an identity of what is deleted.
             format('ALTER TABLE %1$s REPLICA IDENTITY FULL; REVOKE ALL ON %1$s FROM PUBLIC%2$s; '
                    'ALTER TABLE %1$s OWNER TO %3$I', o.sql_name,
                    (SELECT string_agg(DISTINCT format(', %I', g.rolname), '')
                     FROM pg_default_acl p CROSS JOIN LATERAL aclexplode(p.defaclacl) x
                     JOIN pg_roles g ON g.oid = x.grantee AND g.rolname NOT IN (current_user, this.owner)
                     JOIN pg_roles me ON me.oid = p.defaclrole AND me.rolname = current_user
                     WHERE p.defaclobjtype = 'r'), this.owner),
             format('SELECT to_regclass(%L) IS NOT NULL', o.sql_name), NULL, NULL
      FROM ours o CROSS JOIN this
      WHERE o.role = 'down_archive' AND EXISTS (SELECT 1 FROM archiving)
      UNION ALL
      -- An archived old value whose row has no new one by now has been replaced and spent since. Said as "none"
      -- under the new name, so that the next up does not take the old value for one that never moved.
      SELECT 'change', 330, 0, to_name, format('mark {rows} spent values of %s as %s', to_name, empty),
             format('UPDATE %s t SET %I = %L FROM (SELECT * FROM %s) a WHERE %s AND t.%I IS NULL AND t.%I',
                    this.sql_name, to_name, empty, o.sql_name, k.matches, to_name, move_where), NULL, NULL, NULL
      FROM renaming CROSS JOIN this CROSS JOIN key_of k
      JOIN returnable o ON o.role = 'up_archive'
      JOIN compared b ON b.name = from_name AND b.verdict = 'add'
      JOIN compared n ON n.name = to_name AND n.type ~ '^(text|jsonb?|character varying)'
      WHERE EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = move_where AND type = 'boolean')
      UNION ALL
      -- After batches there are hardly any left: they are filled where NOT NULL cannot be proved.
      SELECT CASE WHEN in_batches THEN 'refill' ELSE 'change' END, 340, place, name,
             format('fill {rows} NULLs of %s with %s', found_name, fill),
             format('UPDATE %1$s SET %2$I = %3$s WHERE %2$I IS NULL', this.sql_name,
                    CASE WHEN in_batches THEN name ELSE found_name END, fill),
             NULL, NULL, NULL
      FROM compared CROSS JOIN this CROSS JOIN (SELECT EXISTS (SELECT 1 FROM batched)) b (in_batches)
      WHERE wanted_not_null AND not_null IS NOT TRUE AND fill IS NOT NULL
        AND verdict NOT IN ('add', 'drop', 'foreign')
      UNION ALL
      SELECT 'change', 410, place, taker, format('rename %s to %s', giver, taker),
             format('ALTER TABLE %s RENAME COLUMN %I TO %I', this.sql_name, giver, taker), NULL, NULL, NULL
      FROM renamed CROSS JOIN this JOIN compared ON name = taker
      UNION ALL
      SELECT 'change', 411, g.place, g.name, format('put %s aside as %s', g.name, g.aside),
             format('ALTER TABLE %s RENAME COLUMN %I TO %I', this.sql_name, g.name, g.aside), NULL, NULL, NULL
      FROM going g CROSS JOIN archiving CROSS JOIN this WHERE way = 'begun'
      UNION ALL
      SELECT 'change', 420, c.place, c.name,
             format('add %s %s%s%s', c.name, wanted_short_type, CASE WHEN wanted_not_null THEN ' NOT NULL' END,
                    ' DEFAULT ' || fill),
             format('ADD COLUMN %I %s%s%s%s', c.name,
                    CASE WHEN a.width > c.wanted_width THEN a.type ELSE c.wanted_type END, c.wanted_collate,
                    ' DEFAULT ' || fill,
                    CASE WHEN wanted_not_null AND fill IS NOT NULL THEN ' NOT NULL' END), NULL, NULL, NULL
      FROM compared c
      LEFT JOIN shape a ON a.role = 'down_archive' AND a.name = c.name AND a.family = c.wanted_family
      WHERE verdict = 'add'
      UNION ALL
      SELECT 'change', 420, place, name, format('widen %s from %s to %s', name, short_type, wanted_short_type),
             format('ALTER COLUMN %I TYPE %s%s', name, wanted_type, collate_as), NULL, NULL, NULL
      FROM compared WHERE verdict = 'widen'
      UNION ALL
      SELECT 'change', 420, place, name,
             CASE WHEN wanted_default IS NULL THEN format('drop the default of %s', name)
                  ELSE format('set the default of %s to %s', name, wanted_default) END,
             CASE WHEN wanted_default IS NULL THEN format('ALTER COLUMN %I DROP DEFAULT', name)
                  ELSE format('ALTER COLUMN %I SET DEFAULT %s', name, wanted_default) END, NULL, NULL, NULL
      FROM compared WHERE akin AND verdict <> 'foreign' AND NOT same_default
      UNION ALL
      SELECT 'change', 420, place, name,
             format('make %s %s', name, CASE WHEN wanted_not_null THEN 'NOT NULL' ELSE 'nullable' END),
             format('ALTER COLUMN %I %s NOT NULL', name, CASE WHEN wanted_not_null THEN 'SET' ELSE 'DROP' END),
             NULL, NULL, NULL
      FROM compared
      WHERE verdict NOT IN ('add', 'drop', 'foreign') AND wanted_not_null IS DISTINCT FROM not_null
        AND (fill IS NOT NULL OR NOT wanted_not_null)
      UNION ALL
      SELECT 'change', 420, place, name, format('drop %s', name), format('DROP COLUMN %I', name), NULL, NULL, NULL
      FROM compared WHERE verdict = 'drop' AND NOT EXISTS (SELECT 1 FROM archiving WHERE way = 'begun')
      UNION ALL
      -- Both names again: the old one gets what the archive holds, and otherwise the present value of the new one
      -- (which stays there as well) where that can be cast: of text to json, a list of plain strings.
      SELECT 'change', 430, 0, b.name, format('give {rows} values of %s to %s', to_name, from_name),
             format('UPDATE %s SET %I = %I::text::%s WHERE %s', this.sql_name, from_name, to_name, b.wanted_type,
                    CASE WHEN n.type = b.wanted_type THEN format('%I IS NOT NULL', to_name)
                         WHEN b.wanted_family = 'text' THEN format('length(%I::text) <= %s', to_name, b.wanted_width)
                         WHEN b.wanted_type IN ('json', 'jsonb') THEN format('%I::text ~ %L', to_name,
                           E'^\\[ *("[^"\\\\[:cntrl:]]*"( *, *"[^"\\\\[:cntrl:]]*")*)? *\\]$')
                         ELSE 'false' END),
             NULL, NULL, NULL
      FROM renaming CROSS JOIN this
      JOIN compared b ON b.name = from_name AND b.verdict = 'add'
      JOIN compared n ON n.name = to_name AND n.found_name = to_name
      UNION ALL
      SELECT 'change', 431, 0, from_name, format('give back {rows} values of %s from %s', from_name, o.name),
             format('UPDATE %1$s t SET %2$I = a.%2$I FROM (SELECT * FROM %3$s) a WHERE %4$s',
                    this.sql_name, from_name, o.sql_name, matches), NULL, NULL, NULL
      FROM given_back o CROSS JOIN this
      UNION ALL
      SELECT 'change', 441, 0, NULL, format('drop %s: there was no value', o.name),
             format('DROP TABLE %s', o.sql_name), format('SELECT NOT EXISTS (SELECT 1 FROM %s)', o.sql_name),
             NULL, NULL
      FROM archiving CROSS JOIN ours o WHERE way = 'continued' AND o.role = 'down_archive'
      UNION ALL
      -- A column that is added again may need a default for the rows that are there, and had none.
      SELECT 'change', 450, place, name, format('restore the default of %s', name),
             CASE WHEN wanted_default IS NULL THEN format('ALTER COLUMN %I DROP DEFAULT', name)
                  ELSE format('ALTER COLUMN %I SET DEFAULT %s', name, wanted_default) END, NULL, NULL, NULL
      FROM compared WHERE verdict = 'add' AND fill IS DISTINCT FROM wanted_default
      UNION ALL
      SELECT 'change', 455, c.place, c.name, format('restore the comment of %s', c.name),
             format('COMMENT ON COLUMN %s.%I IS %L', this.sql_name, c.name, b.comment), NULL, NULL, NULL
      FROM compared c CROSS JOIN this JOIN shape b ON b.role = 'before' AND b.name = c.name
      WHERE verdict = 'add' AND b.comment IS NOT NULL
      UNION ALL
      -- Rewrites the table, so only where it is small.
      SELECT 'change', 460, place, name, format('narrow %s from %s to %s', name, short_type, wanted_short_type),
             format('ALTER TABLE %s ALTER COLUMN %I TYPE %s%s', this.sql_name, name, wanted_type, collate_as),
             format('SELECT NOT EXISTS (SELECT 1 FROM %s WHERE length(%I) > %s)', this.sql_name, name, wanted_width),
             format('leave %s as %s: a value in it would not fit into %s', name, short_type, wanted_short_type), NULL
      FROM narrowing CROSS JOIN this WHERE reason IS NULL
      UNION ALL
      -- NOT NULL without a default: nothing says what a NULL that has come since could be filled with.
      SELECT 'change', 470, place, name, format('make %s NOT NULL', name),
             format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', this.sql_name, name),
             CASE WHEN this.forced THEN 'SELECT false'
                  ELSE format('SELECT NOT EXISTS (SELECT 1 FROM %s WHERE %I IS NULL)', this.sql_name, name) END,
             format('leave %s nullable, though it was NOT NULL: %s', name,
                    CASE WHEN this.forced THEN 'row-level security hides whether it holds NULLs'
                         ELSE 'it holds NULLs' END), NULL
      FROM compared CROSS JOIN this
      WHERE wanted_not_null AND fill IS NULL AND not_null IS DISTINCT FROM true AND verdict NOT IN ('drop', 'foreign')
      UNION ALL
      -- What is back must not come back once more, when it has been replaced.
      SELECT 'change', 475, 0, NULL, format('clear {rows} rows of %s, whose values are back', o.name),
             format('DELETE FROM %s a USING %s t WHERE %s', o.sql_name, this.sql_name, pairs),
             format('SELECT %s NOT IN (0, %s)', rows_back, rows_kept), NULL, NULL
      FROM given_back o CROSS JOIN this
      UNION ALL
      -- A trigger may have kept a row from being updated.
      SELECT 'change', 480, 0, NULL, format('drop %s: all its values are back', o.name),
             format('DROP TABLE %s', o.sql_name), format('SELECT %s = %s', rows_back, rows_kept),
             format('%s stays: it holds values that are not back, as of rows that are gone. '
                    'Look into it, then drop it', o.name), NULL
      FROM given_back o CROSS JOIN this
      UNION ALL
      -- The values are archived in transactions of their own.
      SELECT 'again', 495, 0, NULL, 'archive and drop what is put aside', NULL, NULL, NULL, NULL
      FROM archiving WHERE way = 'begun'
      UNION ALL
      SELECT 'forget', 500, 0, NULL, format('drop %s', o.name), format('DROP TABLE %s', o.sql_name), NULL, NULL, NULL
      FROM ours o WHERE o.role = 'before' AND o.oid IS NOT NULL
    ),

    -- What frames them, where there is anything to do at all.
    step AS (
      SELECT * FROM rule
      UNION ALL
      SELECT 'change', position, 0, NULL, verb || ' for the owner, who would not see every row',
             format('ALTER TABLE %s %s ROW LEVEL SECURITY', this.sql_name, verb), NULL, NULL, NULL
      FROM this CROSS JOIN (VALUES (290, 'NO FORCE'), (490, 'FORCE')) v (position, verb)
      WHERE this.forced AND EXISTS (SELECT 1 FROM rule WHERE position BETWEEN 305 AND 399 OR position IN (430, 431))
    )
    SELECT phase,
           array_agg(col ORDER BY place, words) AS columns,
           array_agg(words ORDER BY place, words) AS words,
           CASE WHEN position IN (303, 420, 450) THEN format('ALTER TABLE %s ', this.sql_name) ELSE '' END
             || string_agg(sql, ', ' ORDER BY place, words) AS sql,
           min(only_if) AS only_if, min(otherwise) AS otherwise, min(advice) AS advice
    FROM step CROSS JOIN this
    GROUP BY step.phase, position, CASE WHEN position NOT IN (303, 420, 450) THEN place END,
             CASE WHEN position < 300 THEN words END, this.sql_name
    ORDER BY position, min(place), min(words);
BEGIN
  LOOP
    BEGIN
      -- The program: one try. It leaves the whole change behind, or nothing.
      DECLARE
        table_name CONSTANT pg_catalog.text := 'user_profiles';
        found_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
        found_row_security CONSTANT pg_catalog.text := pg_catalog.current_setting('row_security');
        found_strings CONSTANT pg_catalog.text := pg_catalog.current_setting('standard_conforming_strings');
        found_lock_timeout CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
        alone CONSTANT pg_catalog.bool := false; -- in its transaction, which ends with it
        on_citus CONSTANT pg_catalog.bool := EXISTS (
          SELECT 1 FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'citus');
        stage pg_catalog.record;
        budget_left pg_catalog.interval;
        asked_at pg_catalog.timestamptz;
        steps pg_catalog.jsonb := '[]';
        step pg_catalog.jsonb;
        statement pg_catalog.text;
        session_path pg_catalog.text;
        applies pg_catalog.bool;
        touched pg_catalog.int8;
        again pg_catalog.bool := false;
        said pg_catalog.text[] := '{}';
        conflict pg_catalog.text;
        remedy pg_catalog.text;
        line pg_catalog.text;
      BEGIN
        -- From here on every name means what pg_catalog means by it, and row-level security hides no row: a
        -- statement that would not see every row fails.
        PERFORM pg_catalog.set_config('table_change.target',
                  coalesce(pg_catalog.to_regclass('user_profiles')::pg_catalog.oid::pg_catalog.text, ''), true),
                pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
                pg_catalog.set_config('standard_conforming_strings', 'on', true),
                pg_catalog.set_config('row_security', 'off', true);
        session_path := CASE WHEN found_path ~ 'pg_catalog' THEN 'pg_catalog, ' ELSE '' END || found_path;
        -- Citus: SET LOCAL (set_config never) reaches the workers, so that they wait no longer than we do; one shard
        -- after the other, because of foreign keys to reference tables.
        IF on_citus THEN
          SET LOCAL citus.propagate_set_commands = 'local';
          SET LOCAL citus.multi_shard_modify_mode = 'sequential';
        END IF;

        -- 1. The table: there, ours to alter, on a server that can write.
        FOR refusal IN refusals LOOP
          RAISE EXCEPTION USING MESSAGE = refusal.problem, HINT = refusal.advice;
        END LOOP;

        -- Each stage with its lock and the time that it may wait for it. SHARE UPDATE EXCLUSIVE fixes the shape, and
        -- everybody reads and writes on; behind ACCESS EXCLUSIVE everybody waits. No lock in between, behind which
        -- only writers wait: a transaction that has read and goes on to write would end in a deadlock with us.
        FOR stage IN
          SELECT * FROM (VALUES
            ('look', 'SHARE UPDATE EXCLUSIVE', current_setting('deadlock_timeout')::interval + patience),
            ('stage', 'ACCESS EXCLUSIVE', lock_budget),
            ('batch', NULL, lock_budget),
            ('prepare', NULL, lock_budget),
            ('change', 'ACCESS EXCLUSIVE', lock_budget),
            ('forget', NULL, NULL)
          ) AS stages (name, mode, budget)
        LOOP
          CONTINUE WHEN stage.mode = 'ACCESS EXCLUSIVE'
            AND NOT EXISTS (SELECT 1 FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = stage.name);

          -- 2. and 7. The lock.
          budget_left := coalesce(stage.budget, budget_left);
          BEGIN
            FOR relation IN relations LOOP
              EXIT WHEN stage.mode IS NULL;
              asked_at := clock_timestamp();
              EXECUTE format('SET LOCAL lock_timeout = %L',
                             ceil(greatest(1, extract(epoch FROM budget_left) * 1000)));
              EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', relation.sql_name, stage.mode);
              budget_left := budget_left - (clock_timestamp() - asked_at);
            END LOOP;
          EXCEPTION WHEN lock_not_available OR deadlock_detected OR internal_error THEN
            -- So does Citus say that a worker refused the lock.
            IF SQLSTATE = 'XX000' AND SQLERRM NOT LIKE 'failure on connection marked as essential%' THEN
              RAISE;
            END IF;
            FOR held IN holders (stage.mode, asked_at) LOOP
              RAISE EXCEPTION USING
                ERRCODE = 'lock_not_available',
                MESSAGE = format('%s is in use: no %s lock within %s ms', table_name, stage.mode,
                                 round(extract(epoch FROM stage.budget) * 1000)),
                DETAIL = coalesce('Held by ' || held.holders, 'Whoever held it has let go since.'),
                HINT = coalesce('To end what is in the way: ' || held.remedy, 'Try again.');
            END LOOP;
          END;

          IF stage.name = 'look' THEN
            -- 3. to 5. Look, compare with what is wanted, and get the steps.
            FOR rule IN rules LOOP
              steps := steps || to_jsonb(rule);
            END LOOP;

            -- 6. Refuse, with nothing changed.
            SELECT string_agg(s -> 'words' ->> 0, chr(10) || 'and '), string_agg(DISTINCT s ->> 'advice', chr(10))
            INTO conflict, remedy
            FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = 'conflict';
            IF conflict IS NOT NULL THEN
              RAISE EXCEPTION USING MESSAGE = table_name || ' is left as it was: ' || conflict, HINT = remedy;
            END IF;

            FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' IN ('warning', 'note') LOOP
              line := concat_ws('. ', step -> 'words' ->> 0, step ->> 'advice');
              IF step ->> 'phase' = 'warning' THEN
                RAISE WARNING '%: %', table_name, line;
              ELSE
                RAISE NOTICE '%: %', table_name, line;
              END IF;
            END LOOP;

            -- An ALTER TABLE after an UPDATE would meet its pending trigger events.
            -- Citus takes along to its workers what stands in one string with a SET LOCAL.
            EXECUTE format('SET LOCAL lock_timeout = %L; SET CONSTRAINTS ALL IMMEDIATE',
                           current_setting('lock_timeout'));
          END IF;

          -- 9. Check: nothing may be left to do. (What is to be forgotten is what the check compares with.)
          IF stage.name = 'forget' AND jsonb_array_length(steps) > 0 THEN
            FOR rule IN rules LOOP
              CONTINUE WHEN rule.sql IS NULL OR rule.phase = 'forget';
              applies := rule.only_if IS NULL;
              IF NOT applies THEN
                EXECUTE rule.only_if INTO applies;
              END IF;
              IF applies THEN
                RAISE EXCEPTION USING
                  MESSAGE = format('%s is left as it was: after all steps there would still be to do: %s',
                                   table_name, array_to_string(rule.words, '; ')),
                  HINT = 'Is it a default? Declare it in the words in which the server prints it. '
                         'Otherwise please report it, with what plan shows.';
              END IF;
            END LOOP;
          END IF;

          -- 7. and 8. The steps, in their order. One without SQL refuses where its condition holds.
          FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = stage.name LOOP
            applies := step ->> 'only_if' IS NULL;
            IF NOT applies THEN
              EXECUTE step ->> 'only_if' INTO applies;
            END IF;
            IF applies AND step ->> 'sql' IS NULL THEN
              RAISE EXCEPTION USING
                MESSAGE = table_name || ' is left as it was: ' || (step -> 'words' ->> 0), HINT = step ->> 'advice';
            ELSIF applies THEN
              statement := step ->> 'sql';
              EXECUTE format('SET LOCAL lock_timeout = %L',
                             ceil(greatest(1, extract(epoch FROM budget_left) * 1000)));
              BEGIN
                -- A trigger looks things up on the session's own path. No expression of ours is evaluated on it.
                BEGIN
                  PERFORM set_config('search_path', session_path, true);
                  EXECUTE statement;
                EXCEPTION WHEN not_null_violation THEN
                  -- A NULL has come since the batches that filled them.
                  SELECT concat(string_agg(s ->> 'sql' || '; ', ''), statement) INTO statement
                  FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = 'refill';
                  PERFORM set_config('search_path', session_path, true);
                  EXECUTE statement;
                END;
                GET DIAGNOSTICS touched = ROW_COUNT;
                PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
              EXCEPTION WHEN lock_not_available OR internal_error THEN
                -- So does Citus say that a worker refused the lock.
                IF SQLSTATE = 'XX000' AND SQLERRM NOT LIKE 'failure on connection marked as essential%' THEN
                  RAISE;
                END IF;
                RAISE EXCEPTION USING
                  ERRCODE = 'lock_not_available',
                  MESSAGE = format('%s is left as it was: no lock in time to: %s', table_name, step -> 'words' ->> 0),
                  DETAIL = 'A transaction holds another table that this needs '
                           '(an archive, perhaps, or one that a foreign key names).',
                  HINT = 'Try again.';
              WHEN data_exception OR integrity_constraint_violation THEN
                -- The server's own words would show the value.
                GET STACKED DIAGNOSTICS line = CONSTRAINT_NAME;
                RAISE EXCEPTION USING
                  ERRCODE = SQLSTATE,
                  MESSAGE = format('%s is left as it was: a value stands in the way of: %s%s', table_name,
                                   (SELECT string_agg(word, ', ')
                                    FROM jsonb_array_elements_text(step -> 'words') word),
                                   ' (' || nullif(line, '') || ')'),
                  HINT = 'The statement was: ' || (step ->> 'sql');
              END;
              CONTINUE WHEN stage.name = 'batch' AND touched = 0;
              FOR line IN SELECT jsonb_array_elements_text(step -> 'words') LOOP
                said := said || format('%s: %s', table_name, replace(line, '{rows}', touched::text));
              END LOOP;
            ELSIF step ->> 'otherwise' IS NOT NULL THEN
              said := said || format('%s: %s', table_name, step ->> 'otherwise');
            END IF;
            again := again OR stage.name IN ('stage', 'batch');
          END LOOP;

          -- A part of the work: the rest begins with a new look, in the transaction after this one.
          again := again OR stage.name = 'change'
            AND EXISTS (SELECT 1 FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = 'again');
          EXIT WHEN again;
        END LOOP;

        IF NOT EXISTS (SELECT 1 FROM jsonb_array_elements(steps) AS s WHERE s ->> 'sql' IS NOT NULL) THEN
          said := said || format('%s: nothing to do', table_name);
        END IF;

        -- Leave the transaction as it was found, for somebody who goes on in it.
        IF NOT alone THEN
          SELECT 'SET CONSTRAINTS ' || string_agg(constraint_name, ', ') || ' DEFERRED' INTO line
          FROM (
            SELECT format('%I.%I', n.nspname, k.conname) AS constraint_name
            FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
            GROUP BY n.nspname, k.conname HAVING bool_and(k.condeferred)
          ) AS deferred;
          IF line IS NOT NULL THEN
            EXECUTE line;
          END IF;
        END IF;
        EXECUTE format('SET LOCAL lock_timeout = %L', found_lock_timeout);
        IF on_citus THEN
          SET LOCAL citus.propagate_set_commands TO DEFAULT;
          SET LOCAL citus.multi_shard_modify_mode TO DEFAULT;
        END IF;
        -- What has been done, a line each, to be said afterwards: a NOTICE wakes its reader, while everybody waits.
        PERFORM set_config('table_change.said', array_to_string(said, chr(10)), true),
                set_config('table_change.again', again::text, true),
                set_config('table_change.target', '', true),
                set_config('row_security', found_row_security, true),
                set_config('standard_conforming_strings', found_strings, true),
                set_config('search_path', found_path, true);
      END;
      RAISE NOTICE '%', pg_catalog.current_setting('table_change.said');
      EXIT;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      GET STACKED DIAGNOSTICS
        message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      sleep := least(longest_sleep, first_sleep * 2 ^ least(tries, 20)) * (1 + jitter * (2 * random() - 1));
      tries := tries + 1;
      IF clock_timestamp() + sleep > started + deadline THEN
        RAISE EXCEPTION USING
          ERRCODE = 'lock_not_available',
          MESSAGE = message,
          DETAIL = detail,
          HINT = format('%s Given up after %s tries; nothing has changed, and nothing is locked. '
                        'To wait longer, change "deadline" at the top.', hint, tries);
      END IF;
      RAISE NOTICE '%. Try %; the next one in % s. %',
        message, tries, round(extract(epoch FROM sleep)::numeric, 1), detail;
      PERFORM pg_sleep(extract(epoch FROM sleep));
      PERFORM set_config('search_path', path, true);
    END;
  END LOOP;
EXCEPTION WHEN query_canceled THEN
  RAISE EXCEPTION USING
    ERRCODE = 'query_canceled',
    MESSAGE = SQLERRM,
    HINT = 'Nothing has changed. If it was statement_timeout: SET statement_timeout = 0; then run it again.';
END
$program$;

-- The report: a row a column.
WITH concerned (place, name) AS (
  VALUES
    (1, 'failed_login_attempts'::pg_catalog.name),
    (2, 'account_locked_until'::pg_catalog.name),
    (3, 'password_reset_token'::pg_catalog.name),
    (4, 'password_reset_token_expires'::pg_catalog.name),
    (5, 'last_password_change'::pg_catalog.name),
    (6, 'email_verification_token'::pg_catalog.name),
    (7, 'email_verified'::pg_catalog.name),
    (8, 'email_verified_at'::pg_catalog.name),
    (9, 'auth_provider'::pg_catalog.name),
    (10, 'external_id'::pg_catalog.name),
    (11, 'mfa_backup_codes'::pg_catalog.name),
    (12, 'backup_codes'::pg_catalog.name)
),
relation (role, oid) AS (
  SELECT 'now', pg_catalog.to_regclass('user_profiles')::pg_catalog.oid
  UNION ALL
  SELECT 'before', b.oid
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class b ON b.relnamespace = c.relnamespace
  WHERE c.oid = pg_catalog.to_regclass('user_profiles')::pg_catalog.oid AND b.relname = 'user_profiles_0016_before'
),
shape (role, name, type, not_null, default_value) AS (
  SELECT r.role, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
         pg_catalog.pg_get_expr(d.adbin, d.adrelid)
  FROM relation r
  JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
)
SELECT concerned.name AS column_name,
       now.type,
       CASE WHEN now.not_null THEN 'no' WHEN NOT now.not_null THEN 'yes' END AS nullable,
       now.default_value,
       CASE
         WHEN before.oid IS NOT NULL THEN 'not taken back'
         WHEN now.type IS NOT NULL THEN 'stays (this change did not add it)'
         WHEN concerned.name = 'mfa_backup_codes'
              AND EXISTS (SELECT 1 FROM shape s WHERE s.role = 'now' AND s.name = 'backup_codes')
         THEN 'under its old name, backup_codes'
         ELSE 'not there (removed, or never added)'
       END AS what_was_done
FROM concerned
LEFT JOIN shape now ON now.role = 'now' AND now.name = concerned.name
LEFT JOIN shape was ON was.role = 'before' AND was.name = concerned.name
LEFT JOIN shape old ON old.role = 'before' AND old.name = 'backup_codes' AND concerned.name = 'mfa_backup_codes'
LEFT JOIN relation before ON before.role = 'before'
ORDER BY concerned.place;
