-- user_profiles: take back change 0016
-- What      Brings the table back to the shape that add_security_fields.sql or Knex found. Columns that were
--           there stay, with their values. Without user_profiles_0016_before it changes nothing. An
--           application that needs the new columns fails again.
-- Run       psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f remove_security_fields.sql
--           One statement, safe to repeat. All or nothing, but for NULLs of a large table, filled before
--           (with their triggers). psql ends with 0 when it is done, with 3 when it was refused or gave up.
-- Rehearse  -c BEGIN -c "SET LOCAL table_change.dry = 'on'" before -f, -c ROLLBACK behind it (psql 9.6 or
--           later): it prints what it would send, and locks as a reader does, on a standby too. Without the
--           SET: it does all, with all locks, and takes it back.
-- Again     psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f add_security_fields.sql
-- Needs     PostgreSQL 9.5 or later (tested on 10 to 18), the primary. The table's owner, or a member of that
--           role (no superuser: its triggers would run as one), with CREATE on its schema. No
--           statement_timeout: -c "SET statement_timeout = 0" before -f.
-- Locks     SHARE UPDATE EXCLUSIVE while it looks: everybody works on. Then ACCESS EXCLUSIVE: milliseconds,
--           some 10 microseconds for each value that is moved, filled, archived or given back; where a
--           column becomes NOT NULL, both names exist or columns go, one to three reads of the table; and a
--           partial or expression index or a CHECK over a widened column is made anew; and a table of up to
--           16 MB, to narrow a column again. A try stands in line for it for 0.2 s, while others wait
--           behind: it ends, names the holder, and is repeated for 120 s. Behind the lock one row is updated
--           to itself, with its triggers, however slow, and undone: if that fails it refuses. A synchronous
--           standby is waited for afterwards. In your own transaction (BEGIN, psql -1, AUTOCOMMIT off) the
--           locks last until its COMMIT.
-- Keeps     user_profiles_0016_down_archive: the values of columns that go, the table owner's alone. They
--           come back when the change is made again.
-- Knex      Where Knex has it recorded, it still has, and migrate:latest would do nothing: npx knex
--           migrate:down 0016_add_security_fields deletes the record.
-- Contents  1. table; 2. first lock; 3. look, decide; 4. try a write; 5. refuse; 6. work; 7. steps; 8. send
DO $program$
#variable_conflict use_column -- in a query a name means a column before a variable
-- In patterns {0,1} is for a question mark, which Knex would take for a parameter.
DECLARE
  declaration CONSTANT pg_catalog.jsonb := $declaration${
"id":"0016",
"table":"user_profiles",
"after":"Run the application's migrations up to 0015 first (not in production: SEED=1 npx knex seed:run).",
"before":"user_profiles_0016_before",
"outgoing":"user_profiles_0016_down_archive",
"incoming":"user_profiles_0016_up_archive",
"rename":{"from":"backup_codes","to":"mfa_backup_codes","type":"text","moveWhere":"mfa_enabled","empty":"[]"},
"add":[
  {"name":"failed_login_attempts","type":"integer","notNull": true,"default":"0"},
  {"name":"account_locked_until","type":"timestamp with time zone","notNull": false},
  {"name":"password_reset_token","type":"character varying(255)","notNull": false},
  {"name":"password_reset_token_expires","type":"timestamp with time zone","notNull": false},
  {"name":"last_password_change","type":"timestamp with time zone","notNull": false},
  {"name":"email_verification_token","type":"character varying(255)","notNull": false},
  {"name":"email_verified","type":"boolean","notNull": true,"default":"false"},
  {"name":"email_verified_at","type":"timestamp with time zone","notNull": false},
  {"name":"auth_provider","type":"character varying(50)","notNull": false},
  {"name":"external_id","type":"character varying(255)","notNull": false}
]
}$declaration$;

  -- What somebody may want to change.
  deadline      CONSTANT interval := '120 s'; -- no new try is begun later than this
  lock_budget   CONSTANT interval := '200 ms'; -- all waits of a try behind which others wait
  patience      CONSTANT interval := '500 ms'; -- beyond deadlock_timeout, with an autovacuum
  first_sleep   CONSTANT interval := '250 ms'; -- after a failed try; doubles with every further one
  longest_sleep CONSTANT interval := '2000 ms';
  jitter        CONSTANT float := 0.25; -- a sleep is longer or shorter by up to this share
  batch         CONSTANT integer := 2000; -- rows that are filled at a time, before the lock
  batch_from    CONSTANT integer := 262144; -- bytes: a smaller table is filled behind the lock
  ignore_dependents CONSTANT boolean := false; -- go on though writes would fail, or secrets leak

  table_name   CONSTANT pg_catalog.text := pg_catalog.jsonb_extract_path_text(declaration, 'table');
  from_name    CONSTANT pg_catalog.text := pg_catalog.jsonb_extract_path_text(declaration, 'rename', 'from');
  to_name      CONSTANT pg_catalog.text := pg_catalog.jsonb_extract_path_text(declaration, 'rename', 'to');
  knowingly    CONSTANT pg_catalog.text :=
    'go on knowingly: MIGRATION_IGNORE_DEPENDENTS=1, in a script ignore_dependents at its top';
  found_path   CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  -- The session's own, for what may fire triggers. pg_catalog first: IS DISTINCT FROM looks up its = there.
  path         CONSTANT pg_catalog.text := pg_catalog.concat(
    CASE WHEN found_path OPERATOR(pg_catalog.~) 'pg_catalog' THEN 'pg_catalog, ' END, found_path);
  found_wait   CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
  found_quote_all CONSTANT pg_catalog.text := pg_catalog.current_setting('quote_all_identifiers');
  found_strings CONSTANT pg_catalog.text := pg_catalog.current_setting('standard_conforming_strings');
  deadlock_timeout CONSTANT interval := pg_catalog.current_setting('deadlock_timeout')::interval;
  version_num  CONSTANT integer := pg_catalog.current_setting('server_version_num')::integer;
  may_commit CONSTANT boolean := version_num OPERATOR(pg_catalog.>=) 110000;
  on_citus CONSTANT boolean := EXISTS (
    SELECT FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'citus');

  in_block  boolean := pg_catalog.now() OPERATOR(pg_catalog.<>) pg_catalog.statement_timestamp();
  alone     boolean; -- in its transaction, and may COMMIT
  dry       boolean := NULL; -- only say what would be done; NULL: as the setting table_change.dry says
  target    pg_catalog.oid;
  this      pg_catalog.record; -- the table
  relations pg_catalog.oid[]; -- and all below it, in the order in which the server locks them
  before    pg_catalog.record; -- a table of ours beside it: the one that has the shape before,
  incoming  pg_catalog.record; -- the archive with values that come back,
  outgoing  pg_catalog.record; -- the one for values that go
  incoming_oid pg_catalog.oid; -- where its rows can be told by the primary key:
  key       pg_catalog.text; -- its columns,
  on_key    pg_catalog.text; -- how the table t and an archive a are joined by them,
  by_key    pg_catalog.text; -- and the order with the newest row first
  names     pg_catalog.text[]; -- of the columns concerned
  lock_mode pg_catalog.text := 'ACCESS SHARE'; -- the one that is asked for; a dry run asks for no other
  asked     pg_catalog.timestamptz;
  started   pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  sleep     interval;
  tries     integer := 0;
  is_vacuum boolean; -- an autovacuum is among those who hold the lock
  fill_by   pg_catalog.text; -- statement
  batches   pg_catalog.text[]; -- of rows that are filled before the lock,
  listed    integer := 2147483647; -- how many they were the time before,
  filled    integer; -- how many of them are filled; NULL: no such rows, or the rest is filled behind the lock
  held_by   pg_catalog.text; -- who keeps a lock from us,
  remedy    pg_catalog.text; -- and what ends that
  said      pg_catalog.text[];
  line      pg_catalog.text;
  detail    pg_catalog.text;
  touched   bigint;
  applies   boolean;
  refusal   pg_catalog.text; -- of a dry run, which says its statements as well
  broken    pg_catalog.text[]; -- how a write failed on the new shape: SQLSTATE, message, where
  texts_decide boolean := false; -- it fails without the change as well, or cannot be tried
  is_told   boolean := false; -- what is left as it is, and warnings: by the first try
  is_work   boolean; -- there is something to do

  -- A table of ours by its name, or what it would be called: beside the table, or where it stayed when the
  -- table moved (its comment has the table's oid). closing follows its CREATE; one with values is the owner's
  -- alone.
  ours CURSOR (of_name pg_catalog.text) FOR
    SELECT c.oid, s.sql_name, o.is_trusted, format(
             E';\nCOMMENT ON TABLE %1$s IS %2$L;\n%3$sALTER TABLE %1$s OWNER TO %4$I',
             s.sql_name, format('Kept by change %s of table %s.', declaration ->> 'id', target),
             (SELECT format(E'REVOKE ALL ON %s FROM PUBLIC%s;\n', s.sql_name,
                            string_agg(DISTINCT concat(', ', grantee::regrole), ''))
              FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl)
              WHERE defaclobjtype = 'r' AND defaclrole = quote_ident(current_user)::regrole
                AND grantee NOT IN (0, defaclrole, this.owner_oid)
              HAVING of_name <> declaration ->> 'before'), this.owner) AS closing
    FROM (SELECT of_name) w (name)
    LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (
        SELECT c.relowner = this.owner_oid
          OR NOT this.owner_super AND pg_has_role(this.owner_oid, c.relowner, 'USAGE')) o (is_trusted))
      ON c.relname = w.name AND c.relkind = 'r'
        AND (n.nspname = this.schema
          OR o.is_trusted AND obj_description(c.oid, 'pg_class') LIKE format('%% table %s.', target)
            AND NOT EXISTS (SELECT FROM pg_class x WHERE x.relnamespace = n.oid AND x.relname = this.name))
    CROSS JOIN LATERAL (SELECT format('%I.%I', coalesce(n.nspname, this.schema), w.name)) s (sql_name)
    ORDER BY n.nspname <> this.schema LIMIT 1;

  -- Who keeps a lock from us, of those who were there when it was asked for: on the table, or on its rows of
  -- the catalog (a GRANT). A query is shown up to its first value.
  holders CURSOR FOR
    SELECT 'Held by ' || string_agg(name, E'\n' ORDER BY since) AS names,
           string_agg(remedy, ' ' ORDER BY since) AS remedy,
           bool_or(is_vacuum) AS is_vacuum
    FROM (
      SELECT DISTINCT a.xact_start AS since, l.pid IS NOT NULL AND a.usename IS NULL AS is_vacuum,
             CASE WHEN l.pid IS NULL THEN concat('a prepared transaction: ', x.gid)
                  ELSE format('pid %s, user %s, application %L, %s', l.pid, coalesce(a.usename, 'unknown'),
                    coalesce(a.application_name, ''), coalesce(
                      a.state || format(', transaction open for %s s: %s',
                        round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1),
                        left(split_part(regexp_replace(a.query, '(''|\m\d|(^|;)\s*set\M|\$(\D\w*){0,1}\$).*',
                                                       '...', 'i'), E'\n', 1), 100)),
                      'state hidden from this role')) END AS name,
             CASE WHEN l.pid IS NULL THEN format('ROLLBACK PREPARED %L;', x.gid)
                  ELSE format('SELECT pg_terminate_backend(%s);', l.pid) END AS remedy
      FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      LEFT JOIN (pg_locks y JOIN pg_prepared_xacts x ON x.transaction = y.transactionid AND y.pid IS NULL)
        ON y.virtualtransaction = l.virtualtransaction AND l.pid IS NULL
      WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND coalesce(a.xact_start < asked, true)
        AND (l.relation = ANY (relations || before.oid || incoming.oid)
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND l.mode <> ALL (CASE lock_mode -- those who let us pass
                 WHEN 'ROW EXCLUSIVE' THEN '{AccessShareLock}' -- but for rows, which the others may hold
                 WHEN 'SHARE UPDATE EXCLUSIVE' THEN '{AccessShareLock,RowShareLock,RowExclusiveLock}'
                 ELSE '{}' END::pg_catalog.text[])
             OR l.transactionid IN (
               SELECT xmax FROM pg_class WHERE oid = ANY (relations)
               UNION ALL SELECT xmax FROM pg_attribute WHERE attrelid = ANY (relations)))) holder;
BEGIN
  IF dry IS NULL THEN
    BEGIN -- it is '' where a SET LOCAL is over
      dry := coalesce(pg_catalog.substring(pg_catalog.current_setting('table_change.dry'), '.+'), 'off');
    EXCEPTION WHEN undefined_object THEN dry := false;
    END;
    IF dry THEN
      RAISE INFO '%: a dry run, as table_change.dry is on: nothing is changed', table_name;
    END IF;
  END IF;

  -- In a block with EXCEPTION no COMMIT is possible: in somebody's transaction for the same reason as in an
  -- EXECUTE. (now() tells less: by the extended protocol it comes before the statement.)
  IF may_commit THEN
    BEGIN
      EXECUTE 'DO ''BEGIN COMMIT; END''';
    EXCEPTION WHEN invalid_transaction_termination THEN line := SQLERRM;
    END;
    BEGIN
      COMMIT;
    EXCEPTION WHEN invalid_transaction_termination THEN in_block := SQLERRM OPERATOR(pg_catalog.=) line;
    END;
  END IF;
  alone := may_commit AND NOT in_block;

  <<tries>>
  LOOP
    IF alone AND NOT dry THEN
      COMMIT; -- every try is a transaction and a snapshot of its own
      SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    -- From here on every name means what pg_catalog means by it. A COMMIT ends these settings.
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
            pg_catalog.set_config('quote_all_identifiers', 'off', true),
            pg_catalog.set_config('standard_conforming_strings', 'on', true);
    IF on_citus THEN -- its workers hear of SET LOCAL alone. One shard at a time, for foreign keys
      SET LOCAL citus.propagate_set_commands = 'local';
      SET LOCAL citus.multi_shard_modify_mode = 'sequential';
    END IF;
    IF alone THEN
      SET LOCAL synchronous_commit = local; -- a slow standby is waited for at the end, without the lock
      -- To look again, behind the lock, without a new plan. (With WHERE a PERFORM is an IF.)
      PERFORM set_config('plan_cache_mode', 'force_generic_plan', true) WHERE version_num >= 120000;
    END IF;
    EXECUTE format('SET LOCAL lock_timeout = %L', extract(epoch FROM lock_budget) * 1000);
    asked := clock_timestamp();
    is_work := false;
    said := '{}';

    DECLARE
      locked    pg_catalog.oid[];
      after_check pg_catalog.text[] := '{}'; -- steps
      doing     pg_catalog.text; -- the statement that is carried out
      budget_left interval := least(lock_budget, deadlock_timeout * 0.8);
      failure   pg_catalog.text; -- after which another try may succeed
    BEGIN
      -- NULLs of a large table (see 6.) are filled before the lock: some rows in a try of their own each.
      IF filled < cardinality(batches) THEN
        lock_mode := 'ROW EXCLUSIVE';
        SET CONSTRAINTS ALL IMMEDIATE;
        PERFORM set_config('search_path', path, true);
        EXECUTE fill_by USING batches[filled + 1];
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        filled := filled + 1;
        tries := 0;
        started := clock_timestamp(); -- the deadline is for waiting
        IF filled = cardinality(batches) THEN
          RAISE INFO '% (% rows at a time, while everybody works on)', fill_by, batch;
        END IF;
        CONTINUE tries;
      END IF;
      LOOP
        -- 1. The table.
        PERFORM set_config('search_path', found_path, true);
        EXECUTE pg_catalog.format('SELECT pg_catalog.to_regclass(%L)', table_name) INTO target;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        relations := ARRAY(
          WITH RECURSIVE tree (oid, depth) AS (
            SELECT target, 0
            UNION ALL
            SELECT i.inhrelid, t.depth + 1 FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
          )
          SELECT oid FROM tree GROUP BY oid ORDER BY min(depth), oid);
        SELECT c.relname AS name, n.nspname AS schema, c.oid::regclass::text AS sql_name, o.rolname AS owner,
               o.oid AS owner_oid, o.rolsuper AS owner_super, true AS has_rows,
               pg_has_role(o.oid, 'USAGE') AND NOT row_security_active(c.oid) AS is_open,
               c.relrowsecurity AND c.relforcerowsecurity AS is_forced,
               c.relkind = 'r' AND cardinality(relations) > 1 AS has_children -- which are no partitions
        INTO this
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
        WHERE c.oid = target AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't';
        IF target IS NULL THEN
          RAISE EXCEPTION 'there is no table % on the search_path of % in database %', table_name,
            quote_ident(current_user), quote_ident(current_database())
            USING ERRCODE = 'undefined_table', HINT = concat_ws(' ', declaration ->> 'after',
              'If the table is in another schema, name it: DB_SCHEMA=... or SET search_path.');
        ELSIF this.name IS NULL THEN
          RAISE EXCEPTION '% is not a table that stays, but: %', table_name,
            pg_describe_object('pg_class'::regclass, target, 0) USING ERRCODE = 'wrong_object_type',
            HINT = 'Name the schema of the table itself: DB_SCHEMA=... or SET search_path.';
        ELSIF current_setting('transaction_isolation') <> 'read committed' AND NOT dry THEN
          RAISE EXCEPTION 'this transaction is %: it would go on seeing % as it was before the lock',
            upper(current_setting('transaction_isolation')), table_name
            USING HINT = 'SET default_transaction_isolation = ''read committed''; or, where you BEGIN, BEGIN '
              'ISOLATION LEVEL READ COMMITTED. Then run it again.';
        END IF;
        SELECT oid::regclass, pg_get_userbyid(relowner) INTO line, detail FROM pg_class
        WHERE oid = ANY (relations) AND NOT pg_has_role(relowner, 'USAGE') AND NOT dry;
        IF FOUND THEN
          RAISE EXCEPTION '% belongs to %, and only its owner may alter it; this session is %', line,
            quote_ident(detail), quote_ident(current_user)
            USING ERRCODE = 'insufficient_privilege', HINT = format('Run it as %1$I, or as a member of that '
              'role; one without INHERIT needs PGOPTIONS=''-c role=%1$s''.', detail);
        END IF;
        OPEN ours (declaration ->> 'before'); FETCH ours INTO before; CLOSE ours;
        OPEN ours (declaration ->> 'incoming'); FETCH ours INTO incoming; CLOSE ours;
        OPEN ours (declaration ->> 'outgoing'); FETCH ours INTO outgoing; CLOSE ours;
        EXIT WHEN dry OR relations = locked;

        -- 2. SHARE UPDATE EXCLUSIVE: everybody reads and writes on, and the shape is fixed. No lock between
        -- it and ACCESS EXCLUSIVE: whoever has read and goes on to write would end in a deadlock with us.
        -- An autovacuum gives way after deadlock_timeout, but CREATE INDEX CONCURRENTLY, which waits for our
        -- snapshot, would be killed then. With deferred constraints ALTER TABLE refuses after an UPDATE.
        lock_mode := 'SHARE UPDATE EXCLUSIVE';
        asked := clock_timestamp();
        EXECUTE format('SET LOCAL lock_timeout = %L; SET CONSTRAINTS ALL IMMEDIATE', ceil(1000 * extract(
          epoch FROM CASE WHEN is_vacuum THEN deadlock_timeout + patience ELSE deadlock_timeout * 0.8 END)));
        EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', this.sql_name);
        locked := relations; -- but another table may have taken the name in the meantime: look again
      END LOOP;
      IF this.is_open THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', this.sql_name) INTO this.has_rows;
      END IF;
      names := array_remove(ARRAY(SELECT item ->> 'name' FROM jsonb_array_elements(declaration -> 'add') item)
        || ARRAY[from_name, to_name], NULL);

      -- Pass 1: 3.; 4. where a write has failed; 5. to 8. Pass 2: 3.; 4.; the check, what is last (7.); 8.
      FOR pass IN 1 .. 2 LOOP DECLARE -- these begin anew in each pass
        look      pg_catalog.record;
        col       pg_catalog.text; -- a column:
        actual    pg_catalog.record; -- as it is (one that is renamed: under its present name),
        wanted    pg_catalog.record; -- as wanted, without a name where it is to go,
        archived  pg_catalog.record; -- in the archive
        fill      pg_catalog.text; -- what is written where there is no value
        has_from  boolean;
        has_to    boolean;
        giver     pg_catalog.text; -- a column that is renamed
        taker     pg_catalog.text; -- to this
        added     pg_catalog.text[] := '{}';
        dropped   pg_catalog.text[] := '{}';
        holding   pg_catalog.text; -- which rows have a value in one of these
        sets      pg_catalog.text[] := '{}'; -- columns that get values back: SET ...,
        matches   pg_catalog.text[] := '{}'; -- whether they have them,
        nulls     pg_catalog.text[] := '{}'; -- and SET ... NULL in the archive, where they have
        clauses   pg_catalog.text[] := '{}'; -- of the one ALTER TABLE
        after_alter pg_catalog.text[] := '{}'; -- steps behind it
        conflicts pg_catalog.text[] := '{}';
        fills     pg_catalog.text[] := '{}'; -- columns in which NULLs must be filled: SET ...,
        with_null pg_catalog.text; -- and in which rows
        work      pg_catalog.text[] := '{}'; -- steps: what there is to do,
        steps     pg_catalog.text[] := '{}'; -- and what is sent in this pass
        probe     pg_catalog.text; -- the write that is tried: a statement,
        failed    pg_catalog.text[]; -- as broken, where it fails
        none      CONSTANT pg_catalog.text := declaration #>> '{rename,empty}';
        declared  pg_catalog.record; -- as declared
        from_wanted pg_catalog.record; -- the old name as wanted,
        to_found  pg_catalog.record; -- the new one as it is
      BEGIN
        -- 3. Look, and decide: a row for each column, with records of it.
        SELECT bool_or(attname = from_name) IS TRUE, bool_or(attname = to_name) IS TRUE INTO has_from, has_to
        FROM pg_attribute WHERE attrelid = target AND NOT attisdropped;
        -- Without the shape before nothing is ours to take back.
        IF before.oid IS NULL THEN
          said := ARRAY[format('%s: nothing to take back: there is no table %s. It has been taken back '
            'already, or the columns were not added by this change', table_name, before.sql_name)];
          EXIT; -- of both passes
        END IF;
        IF has_to AND ARRAY( -- it had the old name alone
          SELECT attname::text FROM pg_attribute
          WHERE attrelid = before.oid AND attname IN (from_name, to_name)) = ARRAY[from_name] THEN
          IF has_from THEN
            conflicts := ARRAY[format('there is a column %1$s again beside %2$s. Where it is of no more '
              'use: ALTER TABLE %3$s DROP COLUMN %1$I;', from_name, to_name, this.sql_name)];
          ELSE
            giver := to_name;
            taker := from_name;
          END IF;
        END IF;
        FOR look IN
          WITH shape AS ( -- of a kind are types that hold each other's values, where they are as wide
            SELECT role, place, col, c.*,
                   CASE WHEN type ~ '^(text|character varying(\(\d+\)){0,1})$' THEN 'text'
                        WHEN type IN ('smallint', 'integer', 'bigint') THEN 'integer'
                        ELSE regexp_replace(type, '^(timestamp|time)\(6\)', '\1') END AS kind,
                   CASE type WHEN 'smallint' THEN 2 WHEN 'integer' THEN 4 WHEN 'bigint' THEN 8
                     ELSE coalesce(substring(type FROM '^character varying\((\d+)\)$')::integer, 2147483647)
                   END AS width, -- pg_get_expr() prints 'x' as 'x'::character varying, -1 as '-1'::integer
                   btrim(regexp_replace(value, '::[a-z ]+(\([0-9,]+\)){0,1}$', ''), '''') AS bare
            FROM unnest(names) WITH ORDINALITY n (col, place)
            CROSS JOIN (VALUES ('actual', target), ('declared', 0), ('before', before.oid),
                               ('archived', incoming.oid)) r (role, oid)
            LEFT JOIN (
              SELECT attrelid, attname::text, format_type(atttypid, atttypmod), attnotnull, k.conname,
                     k.convalidated IS FALSE, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum),
                     coalesce((SELECT format(' COLLATE %I.%I', n.nspname, l.collname)
                               FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                               JOIN pg_type y ON y.oid = atttypid
                               WHERE l.oid = attcollation AND l.oid <> y.typcollation), ''),
                     CASE WHEN atthasdef AND to_jsonb(a) ->> 'attgenerated' > ''
                          THEN 'a generated column'
                          WHEN attnotnull AND to_jsonb(a) ->> 'attidentity' > ''
                          THEN 'an identity column' END
              FROM pg_attribute a
              LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
              LEFT JOIN pg_constraint k -- from 18 on NOT NULL has a name, and may be NOT VALID
                ON k.conrelid = attrelid AND k.contype = 'n' AND k.conkey = ARRAY[attnum]
              WHERE attrelid IN (target, before.oid, incoming.oid) AND attname = ANY (names)
                AND NOT attisdropped
              UNION ALL
              SELECT 0, coalesce(name, "to"), type, "notNull" IS TRUE, NULL, false, "default", NULL, '', NULL
              FROM jsonb_to_recordset((declaration -> 'add') || coalesce(declaration -> 'rename', '[]'))
                d (name text, "to" text, type text, "notNull" boolean, "default" text)
            ) c (relation, name, type, not_null, null_name, unproved, value, comment, collate_as, special)
              ON relation = r.oid AND name = CASE WHEN col = taker AND role = 'actual' THEN giver ELSE col END
          )
          SELECT f.col, f AS actual, d AS declared, b AS before, a AS archived
          FROM shape f JOIN shape d USING (place) JOIN shape b USING (place) JOIN shape a USING (place)
          WHERE f.role = 'actual' AND d.role = 'declared' AND b.role = 'before' AND a.role = 'archived'
            AND f.col IS DISTINCT FROM giver
          ORDER BY place
        LOOP
          col := look.col;
          actual := look.actual;
          archived := look.archived;
          matches := matches || ('a.' || quote_ident(archived.name) || ' IS NULL'); -- unless it comes back
          declared := look.declared;
          wanted := look.before;
          -- For a NULL of a column that becomes NOT NULL.
          fill := CASE WHEN (col IN (from_name, to_name)) IS NOT TRUE
                       THEN coalesce(wanted.value, declared.value)
                       WHEN NOT wanted.not_null THEN NULL
                       WHEN wanted.type IN ('json', 'jsonb')
                         OR wanted.kind = 'text' AND wanted.width >= length(none) THEN quote_literal(none)
                       WHEN wanted.type ~ '\]$' THEN '''{}'''
                       ELSE wanted.value END;
          IF col = from_name THEN
            from_wanted := wanted;
          ELSIF col = to_name THEN
            to_found := actual;
          END IF;
          IF wanted.name IS NULL THEN
            CONTINUE WHEN actual.name IS NULL;
            dropped := dropped || col;
            clauses := clauses || format('DROP COLUMN %I', col);
            -- A value is what is not the default with which up would add the column again. As text where the
            -- type is another by now, or has no operator of its own.
            holding := concat(holding || ' OR ', format(CASE
              WHEN declared.value IS NULL THEN 't.%1$I IS DISTINCT FROM NULL' -- a row of NULLs is none
              WHEN actual.type = declared.type AND actual.type !~ '^(json$|character)'
              THEN 't.%1$I IS DISTINCT FROM %2$s'
              ELSE 't.%1$I::pg_catalog.text IS DISTINCT FROM (%2$s)::pg_catalog.text' END,
              col, declared.value));
            CONTINUE;
          ELSIF actual.name IS NULL THEN
            added := added || col;
            -- Values that come back from a wider column need one as wide.
            clauses := clauses || format('ADD COLUMN %I %s%s%s%s', col,
              CASE WHEN archived.kind = wanted.kind AND archived.width > wanted.width
                   THEN archived.type ELSE wanted.type END, wanted.collate_as, ' DEFAULT ' || fill,
              CASE WHEN wanted.not_null AND fill IS NOT NULL
                   THEN concat(' CONSTRAINT ' || quote_ident(wanted.null_name), ' NOT NULL') END);
            IF archived.kind = wanted.kind THEN
              line := CASE WHEN wanted.not_null THEN format('coalesce(a.%I%s)', col, ', ' || fill)
                           ELSE format('a.%I', col) END;
              sets := sets || format('%I = %s', col, line);
              matches[cardinality(matches)] := format(
                't.%I::pg_catalog.text IS NOT DISTINCT FROM (%s)::pg_catalog.text', col, line);
              nulls := nulls || format('%I = CASE WHEN %s THEN NULL ELSE a.%1$I END', col,
                                       matches[cardinality(matches)]);
            END IF;
            after_alter := after_alter || CASE WHEN fill IS DISTINCT FROM wanted.value THEN ARRAY[[
                format('ALTER TABLE %s ALTER COLUMN %I %s', this.sql_name, col,
                       coalesce('SET DEFAULT ' || wanted.value, 'DROP DEFAULT')), NULL]] END
              || CASE WHEN wanted.comment IS NOT NULL THEN ARRAY[[
                format('COMMENT ON COLUMN %s.%I IS %L', this.sql_name, col, wanted.comment), NULL]] END;
          ELSIF actual.special IS NOT NULL OR actual.kind <> wanted.kind
            OR actual.kind = 'integer' AND actual.width < wanted.width THEN
            IF actual.type <> wanted.type AND NOT is_told THEN
              RAISE INFO '%: leave % as %, though it was %: its type has been changed since', table_name,
                col, actual.type, wanted.type;
            END IF;
            CONTINUE WHEN actual.special IS NOT NULL OR actual.type NOT IN ('text', 'json', 'jsonb')
              OR wanted.type NOT IN ('text', 'json', 'jsonb');
          ELSIF actual.width < wanted.width THEN
            clauses := clauses || format('ALTER COLUMN %I TYPE %s%s', col, wanted.type, actual.collate_as);
          ELSIF actual.type <> wanted.type THEN
            -- A cast would cut trailing spaces; this fails where a value is too long.
            line := format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE %3$s%4$s USING pg_catalog.substr(%2$I, '
              '1, CASE WHEN pg_catalog.length(%2$I) <= %5$s THEN pg_catalog.length(%2$I) ELSE -1 END)',
              this.sql_name, col, wanted.type, actual.collate_as, wanted.width);
            SELECT sum(pg_total_relation_size(r)) + (count(*) - 1) * 1048576 INTO touched
            FROM unnest(relations) r; -- each partition is made anew, however small
            IF actual.kind = 'text' AND pass = 1 AND touched <= 16777216 THEN -- bytes
              after_alter := after_alter || ARRAY[[line, 'it can be done']];
            ELSIF NOT is_told THEN
              RAISE INFO '%: leave % as %, though it was %: it would rewrite % in % tables. At a quiet '
                'hour: %;', table_name, col, actual.type, wanted.type, pg_size_pretty(touched),
                cardinality(relations), line;
            END IF;
          END IF;
          IF actual.kind = wanted.kind AND actual.bare IS DISTINCT FROM wanted.bare THEN
            clauses := clauses || format('ALTER COLUMN %I %s', col,
                                         coalesce('SET DEFAULT ' || wanted.value, 'DROP DEFAULT'));
          END IF;
          IF actual.not_null AND NOT wanted.not_null THEN
            clauses := clauses || format('ALTER COLUMN %I DROP NOT NULL', col);
          ELSIF wanted.not_null AND (actual.not_null IS NOT TRUE OR actual.unproved AND NOT wanted.unproved)
            AND (actual.name IS NOT NULL OR fill IS NULL) THEN
            line := format(
              CASE WHEN actual.not_null OR wanted.null_name IS NULL THEN 'ALTER COLUMN %1$I SET NOT NULL'
                   WHEN wanted.unproved THEN 'ADD CONSTRAINT %2$I NOT NULL %1$I NOT VALID'
                   ELSE 'ADD CONSTRAINT %2$I NOT NULL %1$I' END, col, wanted.null_name);
            IF fill IS NOT NULL AND NOT wanted.unproved THEN
              clauses := clauses || line;
              fills := fills || format('%1$I = coalesce(%1$I, (%2$s)::%3$s)', actual.name, fill, actual.type);
              with_null := concat(with_null || ' OR ', quote_ident(actual.name), ' IS NULL');
            ELSIF pass = 1 THEN -- nothing says what to fill with; or NOT VALID, and refuses what we write
              after_alter := after_alter || ARRAY[[
                format('ALTER TABLE %s %s', this.sql_name, line), 'it can be done']];
            END IF;
          END IF;
          -- A child may have a NOT NULL of its own; from 18 on also beside the one that it inherits.
          after_alter := after_alter || CASE WHEN NOT wanted.not_null AND cardinality(relations) > 1 THEN (
            SELECT array_agg(ARRAY[format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL',
              attrelid::regclass, col), NULL] ORDER BY array_position(relations, attrelid))
            FROM pg_attribute LEFT JOIN pg_constraint
              ON conrelid = attrelid AND conkey = ARRAY[attnum] AND contype = 'n' AND conislocal
            WHERE attrelid = ANY (relations) AND attrelid <> target AND attname = actual.name AND attnotnull
              AND (conname IS NOT NULL OR NOT actual.not_null)) END;
        END LOOP;
        -- The primary key (a btree: not WITHOUT OVERLAPS); where children inherit, with the table of the row.
        IF pass = 1 THEN
          SELECT string_agg(k.name, ', ' ORDER BY place), string_agg(match, ' AND ' ORDER BY place),
                 string_agg(k.name || ' DESC', ', ' ORDER BY place),
                 CASE WHEN jsonb_object_agg(k.name, family) = ( -- an int is found by a bigint
                   SELECT jsonb_object_agg(quote_ident(attname), opcfamily)
                   FROM pg_index CROSS JOIN generate_subscripts(indclass, 1) at
                   JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[at]
                   JOIN pg_opclass o ON o.oid = indclass[at]
                   WHERE indrelid = incoming.oid AND indisprimary) THEN incoming.oid END
          INTO key, on_key, by_key, incoming_oid
          FROM (
            SELECT 0, 'archived_from', 't.tableoid OPERATOR(pg_catalog.=) a.archived_from', 1989 -- oid_ops
            WHERE this.has_children
            UNION ALL -- by the index's operator: = would be what fits better on the session's search_path
            SELECT at + 1, quote_ident(attname),
                   format('t.%1$I OPERATOR(%2$s.=) a.%1$I', attname, p.opcnamespace::regnamespace), opcfamily
            FROM pg_index i CROSS JOIN generate_subscripts(i.indclass, 1) at
            JOIN pg_attribute a ON attrelid = i.indrelid AND attnum = i.indkey[at]
            JOIN pg_opclass p ON p.oid = i.indclass[at] AND opcmethod = 403
            WHERE i.indrelid = target AND i.indisprimary AND NOT EXISTS ( -- or it would go with a column
              SELECT FROM pg_attribute x WHERE x.attrelid = target AND x.attnum = ANY (i.indkey)
                AND x.attname = ANY (dropped))
          ) k (place, name, match, family) HAVING bool_or(place > 0);
          IF incoming.oid IS NOT NULL AND incoming_oid IS NULL AND NOT is_told THEN
            RAISE INFO 'WARNING: %: nothing of % would come back. Before, give it the table''s primary key',
              table_name, incoming.sql_name;
          END IF;
        END IF;

        -- 4. Try a write: one row is updated to itself, with its triggers, and that is undone. In pass 2, on
        -- the new shape. If it fails there, all is undone, and the next try begins with it, on the old shape:
        -- if it works there, the change would break it. If not, or if no row can be written, the texts of
        -- triggers decide (5.). The newest row: an old one may be what a CHECK NOT VALID refuses. (This query
        -- also runs in pass 1, so that it is planned before the lock.)
        SELECT format('UPDATE %1$s SET %2$s WHERE (tableoid, ctid) OPERATOR(pg_catalog.=) '
                      '(SELECT tableoid, ctid FROM %1$s%3$s%4$s LIMIT 1 FOR UPDATE)', this.sql_name,
                      string_agg(format('%1$I = %1$I', attname), ', '), (
                        SELECT ' WHERE ' || string_agg(CASE contype WHEN 'n'
                          THEN format('%I IS NOT NULL', x.attname)
                          ELSE format('(%s) IS NOT FALSE', pg_get_expr(conbin, conrelid)) END, ' AND ')
                        FROM pg_constraint JOIN pg_attribute x ON x.attrelid = conrelid AND attnum = conkey[1]
                        WHERE conrelid = target AND contype IN ('c', 'n') AND NOT convalidated),
                      CASE WHEN NOT this.has_children THEN ' ORDER BY ' || by_key END) INTO probe
        FROM pg_attribute a -- to_jsonb() knows columns that older servers lack, and is dear
        WHERE attrelid = target AND attnum > 0 AND NOT attisdropped
          AND (atthasdef AND to_jsonb(a) ->> 'attgenerated' > ''
            OR attnotnull AND to_jsonb(a) ->> 'attidentity' = 'a') IS NOT TRUE;
        IF (pass = 1 AND broken IS NOT NULL OR pass = 2 AND is_work)
          AND NOT (dry OR on_citus OR texts_decide) THEN
          failed := NULL;
          BEGIN
            IF pass = 1 THEN -- as in pass 2: nobody writes meanwhile, and row-level security hides no row
              lock_mode := 'ACCESS EXCLUSIVE';
              EXECUTE format('SET LOCAL lock_timeout = %L; ALTER TABLE %s NO FORCE ROW LEVEL SECURITY',
                             ceil(1000 * extract(epoch FROM budget_left)), this.sql_name);
            END IF;
            doing := probe;
            DISCARD PLANS; -- of triggers that have fired in this session: they keep NEW.* as it was then
            PERFORM set_config('search_path', path, true);
            EXECUTE probe;
            GET DIAGNOSTICS touched = ROW_COUNT;
            RAISE SQLSTATE 'TC001';
          EXCEPTION
            WHEN SQLSTATE 'TC001' THEN NULL; -- it works, and is undone, as is the path
            WHEN lock_not_available OR deadlock_detected THEN
              RAISE;
            WHEN OTHERS OR assert_failure THEN
              GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_CONTEXT, line = COLUMN_NAME;
              failed := ARRAY[SQLSTATE,
                -- The server's own words may show a value, and so may all but these lines of the context.
                CASE WHEN SQLSTATE ~ '^(2[23]|44)' THEN format('a value is refused (%s)',
                  concat_ws(' ', SQLSTATE, nullif(line, ''))) ELSE SQLERRM END,
                concat((
                  SELECT string_agg(format('Trigger %s, function %s. ', tgname, proname), '' ORDER BY tgname)
                  FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid JOIN pg_language l ON l.oid = prolang
                  WHERE tgrelid = ANY (relations) AND NOT tgisinternal AND tgenabled IN ('O', 'A')
                    AND (lanname = 'c' OR detail ~ concat('function ([^ ]*\.){0,1}"{0,1}',
                      regexp_replace(proname, '(\W)', '\\\1', 'g'), '"{0,1}(\(| near)'))
                ), 'The write: ', probe, (
                  SELECT string_agg(E'\n' || l, '') FROM unnest(string_to_array(detail, E'\n')) l
                  WHERE l ~ '^((PL/pgSQL|SQL) function|compilation of)' AND l !~ 'inline_code_block'))];
          END;
          IF pass = 1 AND failed[1] IS DISTINCT FROM broken[1] THEN
            RAISE EXCEPTION '% is left as it was: a write % from then on: %', table_name,
              CASE WHEN failed IS NULL THEN 'that works would fail' ELSE 'would fail in another way' END,
              broken[2] USING DETAIL = broken[3], HINT = concat('Make the trigger work with both shapes, as '
                'by to_jsonb(NEW), and run this again; or add the columns to its table, run this again, and '
                'CREATE OR REPLACE its function: open sessions keep the old columns of NEW.*; or ',
                knowingly);
          ELSIF failed IS NOT NULL AND (pass = 1 OR ignore_dependents) THEN
            texts_decide := true;
            RAISE INFO 'WARNING: %: a write fails %: %', table_name, CASE pass
              WHEN 1 THEN 'without the change as well' ELSE 'from now on' END,
              array_to_string(failed[2:3], '. ');
          ELSIF failed IS NOT NULL THEN
            broken := failed;
            RAISE SQLSTATE 'TC002'; -- undo all, and try again
          ELSIF touched = 0 AND this.has_rows THEN
            texts_decide := true;
            RAISE INFO 'WARNING: %: no write could be tried: a trigger keeps the row as it is, or there is '
              'none', table_name;
            RAISE SQLSTATE 'TC002';
          END IF;
        END IF;

        -- 5. Refuse, with nothing changed: all at once.
        IF pass = 1 THEN
          conflicts := conflicts || ARRAY(
            -- What differs only in case would be left behind; a child's own be taken for the new one.
            SELECT format('there is a column %I, which differs from %s only in case. '
                          'ALTER TABLE %s RENAME COLUMN %1$I TO %4$I;', a.attname, b.lower, this.sql_name,
                          b.lower || CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = target
                                                       AND attname = b.lower) THEN '_old' ELSE '' END)
            FROM pg_attribute a CROSS JOIN LATERAL lower(a.attname) b (lower)
            WHERE attrelid = target AND NOT attisdropped AND attname <> ALL (names) AND b.lower = ANY (names)
            UNION ALL
            SELECT format('%s has a column %I of its own. ALTER TABLE %1$s RENAME COLUMN %2$I TO %I;',
                          attrelid::regclass, attname, attname || '_old')
            FROM pg_attribute
            WHERE attrelid = ANY (relations) AND attrelid <> target AND attislocal
              AND attname = ANY (added || taker)
            UNION ALL
            SELECT format('%s belongs to another role than %s. Look into it: where it is of this change, as '
                          'a superuser, or as its owner where that is a member of %I: ALTER TABLE %1$s OWNER '
                          'TO %3$I; otherwise rename it.', sql_name, this.sql_name, this.owner)
            FROM (VALUES (before.sql_name, before.is_trusted), (incoming.sql_name, incoming.is_trusted))
              o (sql_name, is_trusted)
            WHERE NOT is_trusted);
        END IF;
        -- Triggers whose function or arguments name a column that goes, or copy whole rows. Fatal is what
        -- would fail, or write a secret down, where the write that is tried (4.) cannot tell.
        IF pass = 1 AND EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal) THEN
          FOR look IN
            SELECT is_list OR (code ~* word AND CASE WHEN is_ours THEN is_untried
                                                     ELSE code ~* its_name END) AS is_fatal,
                   format('trigger %1$s on %2$s: ' || CASE WHEN arguments ~ word
                     THEN 'its argument names %3$s, and does not follow the change. Make it anew with both'
                     ELSE 'its function %4$s has %3$s in its text, and may fail or pass over it from '
                       'then on. Make it right under both names, as by to_jsonb(NEW)' END,
                     tgname, tgrelid::regclass, g.name, p.oid::regprocedure) AS text
            FROM (SELECT jsonb_object_agg(n, '\m' || regexp_replace(n, '(\W)', '\\\1', 'g') || '\M')
                  FROM unnest(names || ARRAY[this.name, this.schema]::text[]) n) w (words)
            CROSS JOIN pg_trigger t JOIN pg_proc f ON f.oid = tgfoid
            JOIN pg_proc p ON p.oid = ANY (tgfoid || ARRAY( -- by the index: there may be thousands
              SELECT oid FROM pg_proc -- what it calls
              WHERE prorettype <> 'trigger'::regtype AND pronamespace <> 'pg_catalog'::regnamespace
                AND EXISTS (SELECT FROM unnest(names) n WHERE prosrc ILIKE '%' || n || '%')))
              AND (p.oid = tgfoid OR position(p.proname || '(' IN f.prosrc) > 0)
            CROSS JOIN LATERAL ( -- what it may name, and with which other name it counts as adapted
              SELECT n, words ->> n, CASE WHEN n = giver THEN words ->> taker END
              FROM unnest(dropped || giver) n
              UNION ALL -- but where children inherit: there a trigger may send rows to one of them
              SELECT 'a copy of whole rows (open sessions keep the old columns until its CREATE OR REPLACE)',
                concat('(\mexecute\M|\minsert\s+into\M)[^;]*(',
                CASE WHEN tgrelid = ANY (relations) -- of NEW.*, (OLD).*
                     THEN '(select|values\s*\(|,)\s*\({0,1}(new|old|\$\d)\){0,1}\s*\.\s*\*|' END,
                '((\.|select)\s*\*[^;]*\mfrom|\mtable)\s+([\w"]+\.)*"{0,1}(',
                concat_ws('|', words ->> this.name, to_jsonb(t) ->> 'tgoldtable',
                  to_jsonb(t) ->> 'tgnewtable'), ')\M)'), words ->> to_name
              WHERE added <> '{}' AND NOT this.has_children
            ) g (name, word, other)
            CROSS JOIN LATERAL replace(encode(tgargs, 'escape'), E'\\000', ' ') arguments
            CROSS JOIN LATERAL (SELECT
              tgrelid = ANY (relations) AS is_ours,
              -- A list of what is left out of a log: by arguments, or as in to_jsonb(NEW) - 'name'.
              tgrelid = ANY (relations) AND other IS NOT NULL AND (arguments ~ word
                OR p.prosrc ~* concat('[^-]-\s*(array\s*\[[^];]*){0,1}''[^'';]*', word)) AS is_list,
              tgtype & 16 = 0 OR tgqual IS NOT NULL OR texts_decide OR NOT this.has_rows -- 16: on UPDATE
                -- Perhaps of what has changed; or it tells nobody.
                OR f.prosrc ~* '\m(distinct|exception\s+when)\M'
                OR tgrelid <> target AND coalesce(to_jsonb(t) ->> 'tgparentid', '0') = '0' AS is_untried,
              -- Without comments and strings.
              regexp_replace(p.prosrc, '--[^\n]*|/\*([^*]|\*+[^*/])*\*+/|''[^'']*''', '', 'g') AS code,
              -- With the schema, or in a trigger of the same one without.
              concat('(', words ->> this.schema, '"{0,1}\.', (SELECT '|(^|[^.\w])' FROM pg_class c
                WHERE c.oid = tgrelid AND relnamespace::regnamespace::text = quote_ident(this.schema)),
                ')"{0,1}', words ->> this.name) AS its_name) is_it
            WHERE tgenabled IN ('O', 'A') AND NOT tgisinternal AND concat(p.prosrc, ' ', arguments) ~* word
              AND (concat(p.prosrc, ' ', arguments) ~ other) IS NOT TRUE
              AND (is_ours OR code ~* its_name OR NOT EXISTS ( -- or it means the table of its own schema
                SELECT FROM pg_class x JOIN pg_class y ON y.relnamespace = x.relnamespace
                WHERE x.oid = tgrelid AND y.relname = this.name AND y.oid <> target))
          LOOP
            IF look.is_fatal AND NOT ignore_dependents THEN
              conflicts := conflicts || concat(look.text, '; or ', knowingly);
            ELSIF NOT is_told THEN
              RAISE INFO 'WARNING: %: %', table_name, look.text;
            END IF;
          END LOOP;
        END IF;
        refusal := coalesce(refusal, format('%s is left as it was: ', table_name)
                                     || nullif(array_to_string(conflicts, E'\n'), ''));
        IF refusal IS NOT NULL AND NOT dry THEN
          RAISE EXCEPTION '%', refusal;
        END IF;
        is_told := true;

        -- 6. The work, in its order: rows that move, are archived, or filled; rename; the one ALTER TABLE;
        -- values that come back; after_alter. Each step is a statement (NULL: that is refused), and a query
        -- that tells whether it is sent (NULL: it is). A NULL array adds nothing to an array.
        -- An archived old value whose row has no new one by now has been replaced and spent since. Said as
        -- "none" under the new name, so that the next up does not take it for one that never moved.
        IF from_name = ANY (added) AND incoming_oid IS NOT NULL THEN
          work := work || CASE WHEN to_found.type ~ '^(text|json|character varying)|\]$' THEN ARRAY[[
            format('UPDATE %s t SET %I = %L FROM (SELECT * FROM %s) a WHERE %s AND t.%2$I IS NULL',
                   this.sql_name, to_name, CASE WHEN to_found.type ~ '\]$' THEN '{}'
                     WHEN to_found.width >= length(none) THEN none ELSE '' END,
                   incoming.sql_name, on_key), NULL]] END;
        END IF;
        IF holding IS NOT NULL THEN
          line := format(
            E'CREATE TABLE %1$s AS SELECT %2$s%3$s, %4$s FROM %5$s t WHERE false;\nALTER TABLE %1$s '
            'ADD PRIMARY KEY (%3$s)%6$s;\nINSERT INTO %1$s SELECT %2$s%3$s, %4$s FROM %5$s t WHERE %7$s'
            || CASE WHEN this.is_forced -- its owner is not to see more here
               THEN E';\nALTER TABLE %1$s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY' ELSE '' END,
            outgoing.sql_name, CASE WHEN this.has_children THEN 'tableoid::pg_catalog.regclass AS ' END, key,
            (SELECT string_agg(quote_ident(d), ', ') FROM unnest(dropped) d), this.sql_name, outgoing.closing,
            holding);
          work := work || ARRAY[[CASE WHEN key IS NOT NULL THEN line END,
            format('SELECT EXISTS (SELECT FROM %s t WHERE %s)', this.sql_name, holding)]];
        END IF;
        fill_by := format('UPDATE %s SET %s WHERE ', this.sql_name, array_to_string(fills, ', '));
        work := work
          || CASE WHEN fills <> '{}' AND filled IS NULL THEN ARRAY[[fill_by || with_null, NULL]] END
          || CASE WHEN giver IS NOT NULL THEN ARRAY[[
            format('ALTER TABLE %s RENAME COLUMN %I TO %I', this.sql_name, giver, taker), NULL]] END
          || CASE WHEN clauses <> '{}' THEN ARRAY[[
            format(E'ALTER TABLE %s\n  %s', this.sql_name, array_to_string(clauses, E',\n  ')), NULL]] END;
        -- Both names again: the old one gets what the archive holds, and otherwise the present value of the
        -- new one (which stays there too) where that can be cast: of text to json, a list of plain strings.
        IF from_name = ANY (added) AND has_to THEN
          work := work || ARRAY[[format('UPDATE %s SET %I = %I::pg_catalog.text::%s WHERE %s',
            this.sql_name, from_name, to_name, from_wanted.type, format(CASE
              WHEN from_wanted.type = to_found.type THEN '%1$I IS NOT NULL'
              WHEN from_wanted.kind = 'text' THEN 'pg_catalog.length(%1$I::pg_catalog.text) <= %2$s'
              WHEN from_wanted.type IN ('json', 'jsonb') THEN '%1$I::pg_catalog.text ~ %3$L'
              ELSE 'false' END, to_name, from_wanted.width,
              '^\[ *("[^"\\\x01-\x1f]*"( *, *"[^"\\\x01-\x1f]*")*){0,1} *\]$')), NULL]];
        END IF;
        work := work || CASE WHEN sets <> '{}' AND incoming_oid IS NOT NULL THEN ARRAY[
            [format('UPDATE %s t SET %s FROM (SELECT * FROM %s) a WHERE %s', this.sql_name,
                    array_to_string(sets, ', '), incoming.sql_name, on_key), NULL],
            -- What is back must not come back once more, when it is spent. A trigger may have kept it away.
            [format('DELETE FROM %s a USING %s t WHERE %s', incoming.sql_name, this.sql_name,
                    array_to_string(on_key || matches, ' AND ')), NULL],
            [format('UPDATE %s a SET %s FROM %s t WHERE %s', incoming.sql_name, array_to_string(nulls, ', '),
                    this.sql_name, on_key), format('SELECT EXISTS (SELECT FROM %s)', incoming.sql_name)],
            [format('DROP TABLE %s', incoming.sql_name),
             format('SELECT NOT EXISTS (SELECT FROM %s)', incoming.sql_name)]] END || after_alter;
        IF pass = 1 AND work <> '{}' THEN
          -- A row that others write meanwhile moves: they are listed again, as long as they get fewer.
          IF fills <> '{}' AND (batches IS NULL OR cardinality(batches) BETWEEN 2 AND listed - 1)
            AND (alone OR dry AND may_commit) AND this.is_open AND NOT on_citus
            AND (SELECT sum(pg_relation_size(r)) FROM unnest(relations) r) > batch_from THEN
            IF dry THEN
              RAISE INFO '%; -- % rows at a time, before the lock', fill_by || with_null, batch;
              batches := '{}';
            ELSE
              listed := coalesce(cardinality(batches), listed);
              -- By ctid, as those of several partitions may be equal, and are then filled at once.
              EXECUTE format('SELECT coalesce(array_agg(rows::text), ''{}'') FROM (SELECT array_agg(ctid) AS '
                'rows FROM (SELECT ctid, row_number() OVER (ORDER BY ctid) AS n FROM %s WHERE %s) r '
                'GROUP BY n / %s) b', this.sql_name, with_null, batch) INTO batches;
              fill_by := format('%sctid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.tid[]) AND (%s)',
                                fill_by, with_null);
            END IF;
            filled := 0;
            CONTINUE tries; -- it COMMITs between batches, which no block with an EXCEPTION may
          END IF;
          -- 7. What is sent: the shape before, the locks, and the work.
          is_work := true;
          steps := steps || (
            SELECT array_agg(ARRAY[format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', oid::regclass), NULL]
                             ORDER BY array_position(relations, oid))
            FROM pg_class WHERE oid = ANY (relations) AND relkind <> 'f'); -- a foreign table takes no LOCK
          lock_mode := 'ACCESS EXCLUSIVE';
          -- Row-level security would hide rows from us. (The work joins here in any case.)
          SELECT steps || array_agg(ARRAY[format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', r), NULL])
                   || work,
                 array_agg(ARRAY[format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', r),
                                 format('SELECT to_regclass(%L) IS NOT NULL', r)]) || after_check
          INTO steps, after_check
          FROM unnest(ARRAY[target, incoming_oid]::regclass[]) r WHERE row_security_active(r);
        ELSIF pass = 2 THEN
          -- Check: nothing may be left to do.
          IF work <> '{}' AND NOT dry THEN
            RAISE EXCEPTION '% is left as it was: after all steps there would still be to do: %',
              table_name, work[1][1] USING HINT = 'If it is a default, declare it as the server prints it.';
          END IF;
          after_check := ARRAY[[format('DROP TABLE %s', before.sql_name), NULL]] || after_check;
          steps := after_check;
        END IF;

        -- 8. Send the steps.
        FOR i IN 1 .. cardinality(steps) / 2 LOOP
          doing := steps[i][1];
          IF steps[i][2] LIKE 'SELECT %' AND (doing IS NULL OR NOT dry) THEN
            EXECUTE steps[i][2] INTO applies;
            CONTINUE WHEN NOT applies;
          END IF;
          IF doing IS NULL THEN
            RAISE EXCEPTION '% is left as it was: values would be dropped with %, and the table has no '
              'primary key by which they could come back', table_name, array_to_string(dropped, ', ')
              USING HINT = 'Add a primary key without these, or save and clear the values until this is '
                'false: ' || steps[i][2];
          ELSIF dry THEN
            said := said || concat(doing, ';', ' -- only if: ' || steps[i][2]);
            CONTINUE;
          END IF;
          EXECUTE format('SET LOCAL lock_timeout = %L',
                         greatest(1, ceil(1000 * extract(epoch FROM budget_left))));
          asked := clock_timestamp();
          BEGIN
            -- A trigger looks things up on the session's own path. No expression of ours is evaluated on it.
            PERFORM set_config('search_path', path, true);
            EXECUTE doing; -- where it fails, the path is as before as well
            GET DIAGNOSTICS touched = ROW_COUNT;
            PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
          EXCEPTION
            WHEN lock_not_available OR deadlock_detected OR internal_error THEN
              RAISE;
            WHEN OTHERS OR assert_failure THEN
              GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, line = CONSTRAINT_NAME;
              -- The server's own words, but for those that may show a row or a value.
              line := CASE WHEN SQLSTATE ~ '^(2[23]|44)'
                THEN concat('a value stands in the way', ' (' || nullif(line, '') || ')') ELSE SQLERRM END;
              IF steps[i][2] = 'it can be done' THEN
                RAISE INFO '%: left as it is, as %. At a quiet hour: %;', table_name, line, doing;
                CONTINUE;
              END IF;
              RAISE EXCEPTION '% is left as it was: %', table_name, line USING ERRCODE = SQLSTATE,
                DETAIL = CASE WHEN SQLSTATE IN ('0A000', '2BP01', '42601') THEN detail ELSE '' END,
                HINT = concat(CASE
                  WHEN SQLSTATE = '42501' AND NOT has_schema_privilege(this.owner, this.schema, 'CREATE')
                  THEN format(
                    'As the owner of the schema: GRANT CREATE ON SCHEMA %I TO %I; ', this.schema, this.owner)
                  WHEN SQLSTATE = '42P07' THEN 'An archive is never overwritten: look into it (row-level '
                    'security may hide its rows), then rename or drop it. '
                  WHEN SQLSTATE = '23502' AND doing LIKE 'ALTER %'
                  THEN 'NULLs are written meanwhile, or a trigger keeps them: find out by what. '
                  WHEN doing LIKE 'UPDATE %'
                  THEN 'Where a trigger wants a setting: PGOPTIONS=''-c app.user_id=0''. '
                  WHEN SQLSTATE IN ('0A000', '2BP01', '42601') AND doing !~ '^UPDATE '
                  THEN 'Drop what uses the column or the row type, run this again, and create it anew; by '
                    'psql in one transaction (BEGIN, DROP, the script, CREATE, COMMIT) nobody is without it. '
                  END, 'The statement was: ', doing);
          END;
          IF doing LIKE 'LOCK %' THEN
            budget_left := budget_left - (clock_timestamp() - asked);
          ELSE
            said := said || concat(doing, CASE WHEN touched > 0 OR doing ~ '^(UPDATE|DELETE) '
                                               THEN format(' (%s rows)', touched) END);
          END IF;
        END LOOP;
        IF pass = 2 AND NOT dry AND EXISTS (SELECT FROM pg_class WHERE oid = incoming.oid) THEN
          said := said || format(
            '%s: %s stays: %s. Look into it (row-level security may hide its rows), then drop it', table_name,
            incoming.sql_name, CASE WHEN incoming_oid IS NULL
              THEN 'its key is no longer the table''s, so nothing came back'
              ELSE 'it holds values that are not back: the row is gone, or the column is another one' END);
        END IF;
      END; END LOOP;
      said := said || CASE WHEN said = '{}' THEN ARRAY[format('%s: nothing to do', table_name)]
        WHEN in_block AND is_work AND NOT dry THEN ARRAY[
          format('%s: in a transaction of yours, nothing is there before its COMMIT', table_name)] END;
      IF dry AND is_work THEN
        OPEN holders; FETCH holders INTO held_by, remedy, is_vacuum; CLOSE holders;
        said := array_remove(said || (format('%s: it would wait. ', table_name) || held_by), NULL);
      END IF;
      EXIT tries;
    EXCEPTION
      WHEN SQLSTATE 'TC002' THEN NULL; -- the write that was tried failed
      WHEN lock_not_available OR deadlock_detected OR internal_error THEN
        -- XX000: a GRANT at the same moment, or a worker of Citus that refused the lock.
        IF SQLSTATE = 'XX000'
          AND SQLERRM !~ '^(tuple concurrently|failure on connection marked as essential)' THEN
          RAISE;
        END IF;
        failure := CASE WHEN doing IS NULL OR doing LIKE 'LOCK %'
          THEN format('%s is in use: no %s lock in time', table_name, lock_mode)
          ELSE format('%s is left as it was: %s: %s', table_name, SQLERRM, doing) END;
        OPEN holders; FETCH holders INTO held_by, remedy, is_vacuum; CLOSE holders;
        sleep := least(longest_sleep, first_sleep * 2 ^ least(tries, 20)) * (1 + jitter * (2 * random() - 1));
        tries := tries + 1;
        held_by := coalesce(held_by, 'Whoever held it has let go since, or holds another table.');
        IF dry OR clock_timestamp() + sleep > started + deadline THEN
          RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = failure, DETAIL = held_by,
            HINT = concat('To end what is in the way, as its user: ' || remedy || E'\n',
              CASE WHEN NOT dry THEN format('Given up after %s tries in %s s; nothing is locked. To wait '
                'longer: MIGRATION_LOCK_DEADLINE in seconds, in a script deadline at its top.', tries,
                round(extract(epoch FROM clock_timestamp() - started)::numeric, 1)) END);
        END IF;
        RAISE INFO '%. Try %; the next one in % s. %', failure, tries,
          round(extract(epoch FROM sleep)::numeric, 1), held_by;
        PERFORM pg_sleep_for(sleep);
      WHEN OTHERS OR assert_failure THEN
        IF filled < cardinality(batches) THEN
          RAISE EXCEPTION '% is left as it was, but for NULLs that are filled: %', table_name,
            CASE WHEN SQLSTATE ~ '^(2[23]|44)' THEN 'a value stands in the way' ELSE SQLERRM END
            USING ERRCODE = SQLSTATE, HINT = 'The statement was: ' || fill_by;
        ELSIF filled IS NULL OR filled > 5 OR SQLSTATE <> '23502' THEN
          RAISE;
        END IF;
        filled := NULL; -- new NULLs have come since: where there were few, they are filled behind the lock
    END;
  END LOOP tries;

  -- What was done is said without the lock: each line wakes its reader, while everybody waits. By INFO,
  -- which client_min_messages never holds back.
  IF alone AND NOT dry THEN
    COMMIT;
  ELSE -- leave the transaction as it was found, and constraints as they are declared
    SELECT 'SET CONSTRAINTS ' || string_agg(name, ', ') || ' DEFERRED; ' INTO line
    FROM (SELECT format('%s.%I', connamespace::regnamespace, conname) FROM pg_constraint
          WHERE NOT dry AND has_schema_privilege(connamespace, 'USAGE') -- or the server would refuse it all
          GROUP BY connamespace, conname HAVING bool_and(condeferred)) deferred (name);
    EXECUTE concat(line, format('SET LOCAL lock_timeout = %L', found_wait));
    IF on_citus THEN
      SET LOCAL citus.propagate_set_commands TO DEFAULT;
      SET LOCAL citus.multi_shard_modify_mode TO DEFAULT;
    END IF;
    PERFORM set_config('standard_conforming_strings', found_strings, true),
            set_config('quote_all_identifiers', found_quote_all, true),
            set_config('search_path', found_path, true);
  END IF;
  FOREACH line IN ARRAY said LOOP
    RAISE INFO '%', line;
  END LOOP;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION '%', refusal;
  END IF;
  line := pg_catalog.current_setting('synchronous_standby_names');
  IF alone AND NOT dry AND is_work AND line OPERATOR(pg_catalog.<>) '' THEN
    RAISE INFO '%: done; now it waits for the standby (%), without a lock. An interrupt ends just the wait',
      table_name, line;
    -- Its COMMIT waits, and so for all that was done before.
    PERFORM pg_catalog.pg_logical_emit_message(true, 'table_change', 'done');
  END IF;
END
$program$;
