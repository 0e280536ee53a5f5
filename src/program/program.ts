import type { Change } from '../declaration';
import { holders, relationsToLock } from './lock';
import type { Direction } from './look';
import { policy } from './policy';
import { rules } from './rules';
import { refusals, tableName, tableOid } from './table';
import { indent, literal } from './text';

/**
 * The program: one try, as a PL/pgSQL block. Its errors: lock_not_available (55P03) and deadlock_detected
 * (40P01), which a later try may not meet; raise_exception (P0001), a refusal. After any of them everything
 * is as it was before.
 *
 * Until search_path is ours, every name in it is qualified, types included: PL/pgSQL looks up the types of a
 * DECLARE when it compiles the block. search_path is then pg_catalog alone, so that no operator or function
 * of somebody else's can be meant.
 */
export function program(change: Change, direction: Direction, ignoreDependents = false): string {
  return `
DECLARE
  refusals CONSTANT pg_catalog.text := $refusals$${indent(refusals(change), 4)}
  $refusals$;
  relations CONSTANT pg_catalog.text := $relations$${indent(relationsToLock, 4)}
  $relations$;
  holders CONSTANT pg_catalog.text := $holders$${indent(holders, 4)}
  $holders$;
  rules CONSTANT pg_catalog.text := $rules$${indent(rules(change, direction, ignoreDependents), 4)}
  $rules$;

  table_name CONSTANT pg_catalog.text := ${literal(tableName(change))};
  target CONSTANT pg_catalog.oid := ${tableOid(change)};
  found_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  found_row_security CONSTANT pg_catalog.text := pg_catalog.current_setting('row_security');
  found_lock_timeout CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
  stage pg_catalog.record;
  waited pg_catalog.interval := '0';
  asked pg_catalog.timestamptz;
  relation pg_catalog.text;
  steps pg_catalog.jsonb;
  step pg_catalog.jsonb;
  word pg_catalog.text;
  holds pg_catalog.bool;
  touched pg_catalog.int8;
  problem pg_catalog.text;
  remedy pg_catalog.text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  -- Row-level security must not hide a row from us: a statement that would not see every row fails.
  PERFORM set_config('row_security', 'off', true);

  -- 1. The table: there, ours to alter, on a server that can write.
  EXECUTE refusals INTO problem, remedy USING target;
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION USING MESSAGE = problem, HINT = remedy;
  END IF;

  -- Each stage with the lock that it needs and the time that it may wait for it. SHARE UPDATE EXCLUSIVE fixes
  -- the shape and lets everybody read and write; behind SHARE ROW EXCLUSIVE writers wait; behind ACCESS
  -- EXCLUSIVE readers as well: these two share one budget.
  FOR stage IN
    SELECT * FROM (VALUES
      ('prepare', 'SHARE UPDATE EXCLUSIVE', current_setting('deadlock_timeout')::interval + '${policy.patienceWithAutovacuum} ms'),
      ('rows', 'SHARE ROW EXCLUSIVE', interval '${policy.lockBudget} ms'),
      ('catalog', 'ACCESS EXCLUSIVE', interval '${policy.lockBudget} ms'),
      ('forget', NULL, NULL)
    ) AS stages (name, mode, budget)
  LOOP
    CONTINUE WHEN stage.name IN ('rows', 'catalog')
      AND NOT EXISTS (SELECT 1 FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = stage.name);

    -- 2. and 8. The lock.
    BEGIN
      FOR relation IN EXECUTE relations USING target LOOP
        EXIT WHEN stage.mode IS NULL;
        asked := clock_timestamp();
        EXECUTE format('SET LOCAL lock_timeout = %L', ceil(greatest(1, extract(epoch FROM stage.budget - waited) * 1000)));
        EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', relation, stage.mode);
        waited := waited + (clock_timestamp() - asked);
      END LOOP;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      EXECUTE holders INTO problem, remedy USING target, stage.mode;
      RAISE EXCEPTION USING
        ERRCODE = 'lock_not_available',
        MESSAGE = format('%s is in use: no %s lock within %s ms', table_name, stage.mode, extract(epoch FROM stage.budget) * 1000),
        DETAIL = coalesce('Held by ' || problem, 'Whoever held it has let go since.'),
        HINT = coalesce('To end what is in the way: ' || remedy, 'Try again.');
    END;

    IF stage.name = 'prepare' THEN
      waited := '0';

      -- 3. to 5. Look, compare with what is wanted, and get the steps.
      EXECUTE 'SELECT coalesce(jsonb_agg(r), ''[]'') FROM (' || rules || ') AS r' INTO steps USING target;

      -- 6. Refuse, with nothing changed.
      SELECT string_agg(s -> 'words' ->> 0, chr(10) || 'and '), string_agg(DISTINCT s ->> 'advice', chr(10)) INTO problem, remedy
      FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = 'conflict';
      IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = table_name || ' is left as it was: ' || problem, HINT = remedy;
      END IF;

      FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' IN ('warning', 'note') LOOP
        RAISE NOTICE '%: %', table_name, concat_ws('. ', step -> 'words' ->> 0, step ->> 'advice');
      END LOOP;
      -- An ALTER TABLE after an UPDATE would meet its pending trigger events.
      SET CONSTRAINTS ALL IMMEDIATE;
    END IF;

    -- 9. Check: nothing may be left to do. (What is to be forgotten is what the check compares with.)
    IF stage.name = 'forget' THEN
      FOR step IN EXECUTE 'SELECT to_jsonb(r) FROM (' || rules || ') AS r WHERE sql IS NOT NULL AND phase <> ''forget''' USING target LOOP
        EXECUTE coalesce(step ->> 'only_if', 'SELECT true') INTO holds USING touched;
        IF holds THEN
          RAISE EXCEPTION USING
            MESSAGE = format('%s is left as it was: after all steps there would still be: %s', table_name, step ->> 'words'),
            HINT = 'This should not happen. Please report it with the output of plan.';
        END IF;
      END LOOP;
    END IF;

    -- 7. and 8. The steps, in their order. One without SQL refuses where its condition holds.
    FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s WHERE s ->> 'phase' = stage.name LOOP
      EXECUTE coalesce(step ->> 'only_if', 'SELECT true') INTO holds USING touched;
      IF holds AND step ->> 'sql' IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = table_name || ' is left as it was: ' || (step -> 'words' ->> 0), HINT = step ->> 'advice';
      ELSIF holds THEN
        EXECUTE format('SET LOCAL lock_timeout = %L', ceil(greatest(1, extract(epoch FROM coalesce(stage.budget, '0') - waited) * 1000)));
        BEGIN
          EXECUTE step ->> 'sql';
          GET DIAGNOSTICS touched = ROW_COUNT;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
          -- The server's own words would show the value.
          RAISE EXCEPTION USING
            ERRCODE = SQLSTATE,
            MESSAGE = format('%s is left as it was: a value stands in the way of: %s', table_name, step ->> 'words'),
            HINT = 'The statement was: ' || (step ->> 'sql');
        END;
        FOR word IN SELECT jsonb_array_elements_text(step -> 'words') LOOP
          RAISE NOTICE '%: %', table_name, replace(word, '{rows}', touched::text);
        END LOOP;
      ELSIF step ->> 'otherwise' IS NOT NULL THEN
        RAISE NOTICE '%: %', table_name, step ->> 'otherwise';
      END IF;
    END LOOP;
  END LOOP;

  IF NOT EXISTS (SELECT 1 FROM jsonb_array_elements(steps) AS s WHERE s ->> 'sql' IS NOT NULL) THEN
    RAISE NOTICE '%: nothing to do', table_name;
  END IF;

  -- Leave the transaction as it was found, where somebody goes on in it.
  SELECT 'SET CONSTRAINTS ' || string_agg(constraint_name, ', ') || ' DEFERRED' INTO word
  FROM (
    SELECT format('%I.%I', n.nspname, k.conname) AS constraint_name
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    GROUP BY n.nspname, k.conname HAVING bool_and(k.condeferred)
  ) AS deferred;
  IF word IS NOT NULL THEN
    EXECUTE word;
  END IF;
  EXECUTE format('SET LOCAL lock_timeout = %L', found_lock_timeout);
  PERFORM set_config('row_security', found_row_security, true);
  PERFORM set_config('search_path', found_path, true);
END`;
}
