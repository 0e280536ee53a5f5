import type { Change } from '../declaration';
import type { Allowed } from './rules';
import { aim, tableName } from './table';
import { indent, literal } from './text';

/**
 * One try. Its errors: lock_not_available (55P03), which a later try may not meet; raise_exception (P0001), a
 * refusal. After any error everything is as it was before.
 */
export function attempt(change: Change, { inBatches = false }: Allowed): string {
  return `DECLARE
  table_name CONSTANT pg_catalog.text := ${literal(tableName(change))};
  found_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  found_row_security CONSTANT pg_catalog.text := pg_catalog.current_setting('row_security');
  found_strings CONSTANT pg_catalog.text := pg_catalog.current_setting('standard_conforming_strings');
  found_lock_timeout CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
  alone CONSTANT pg_catalog.bool := ${inBatches}; -- in its transaction, which ends with it
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
  PERFORM ${indent(aim(change), 10)},
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
      ${indent(unlessRefusedByWorker, 6)}
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
          ${indent(unlessRefusedByWorker, 10)}
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
END`;
}

/** A lock that a worker of Citus refuses reaches us as an internal error; any other one is not ours to wait for. */
const unlessRefusedByWorker = `\
-- So does Citus say that a worker refused the lock.
IF SQLSTATE = 'XX000' AND SQLERRM NOT LIKE 'failure on connection marked as essential%' THEN
  RAISE;
END IF;`;
