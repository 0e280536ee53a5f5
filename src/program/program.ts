import type { Change } from '../declaration';
import { attempt } from './attempt';
import { holders, relationsToLock } from './lock';
import type { Direction } from './look';
import { policy } from './policy';
import { type Allowed, rules } from './rules';
import { refusals } from './table';
import { indent } from './text';

/**
 * The program, a DO statement: the queries that it asks, then one try, inside whatever `around` makes of it.
 *
 * Until search_path is ours, every name in it is qualified, types included: PL/pgSQL looks up the types of a
 * DECLARE when it compiles the block, and the names in a query when it runs it for the first time.
 */
export function program(
  change: Change,
  direction: Direction,
  allowed: Allowed = {},
  around: Around = { declarations: '', body: (tried) => `  ${indent(tried, 2)};` },
): string {
  return `DO $program$
#variable_conflict use_column -- in a query a name means a column before a variable
DECLARE${around.declarations}

  -- How long one try waits for its locks.
  lock_budget CONSTANT pg_catalog.interval := '${policy.lockBudget} ms'; -- in all, for those that make others wait
  patience    CONSTANT pg_catalog.interval := '${policy.patienceWithAutovacuum} ms'; -- for the one that does not, beyond deadlock_timeout

  -- 1. Why the change cannot be made here; no row where it can.
  refusals CURSOR FOR${indent(refusals(change), 4)};

  -- 2. What is to be locked, and who holds it.
  relations CURSOR FOR${indent(relationsToLock, 4)};
  holders CURSOR (asked_mode pg_catalog.text, asked pg_catalog.timestamptz)
    FOR${indent(holders('asked_mode', 'asked'), 4)};

  -- 3. to 5. What is found, what is wanted, and the steps from the one to the other.
  rules CURSOR FOR${indent(rules(change, direction, allowed), 4)};
BEGIN
${around.body(attempt(change, allowed))}
END
$program$`;
}

/** What a script puts around a try. */
export interface Around {
  readonly declarations: string;
  readonly body: (tried: string) => string;
}
