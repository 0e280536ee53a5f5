import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { advisoryKey } from '../program/batch';
import { holders } from '../program/lock';
import { type Direction, target, tree } from '../program/look';
import { type Rule, rules } from '../program/rules';
import { tableName } from '../program/table';
import { surroundings } from '../run';
import { looking } from './looking';
import { askRecord, isRecorded, recordedTooEarly } from './record';

/** What would be done. */
export interface Plan {
  readonly direction: Direction;
  readonly table: string;
  /** Bytes of the table with its partitions, without indexes. */
  readonly bytes: number;
  /** The server's estimate. */
  readonly rows: number;
  /** How many columns can still be added: a table has 1,600 numbers, and dropped columns keep theirs. */
  readonly columnsLeft: number;
  /** What the rules query gives, in the order of the work, where all of it is done in one transaction. */
  readonly rules: readonly Rule[];
  /** Whether Knex does a part of it before, in transactions of their own: there are many values. */
  readonly inBatches: boolean;
  /** Why the change would be refused; empty where it would not. */
  readonly conflicts: readonly { readonly problem: string; readonly advice: string | null }[];
  /** Who holds a transaction on the table that the change would wait for; null where nobody does. */
  readonly holders: string | null;
  /** Knex's own lock: free, held by this migration, stale (or held by another one); null where there is no table of Knex's to be read. */
  readonly knexLock: 'free' | 'held' | 'stale' | null;
  /** Whether Knex has it recorded, and `latest` does nothing; null as above. */
  readonly recorded: boolean | null;
  /** All of this for a reader. */
  readonly lines: readonly string[];
}

/** @see TableChange.plan */
export async function planOf(knex: Knex, change: Change, direction: Direction): Promise<Plan> {
  const knexLock = await stateOfKnexLock(knex);
  const recorded = await isRecorded(knex, change);
  return looking(knex, change, async ({ database, refusals, rows }) => {
    const allowed = surroundings();
    const found = await rows<Rule>(rules(change, direction, allowed));
    const batched = await rows<Rule>(rules(change, direction, { ...allowed, inBatches: true }));
    const conflicts: Plan['conflicts'][number][] = [...refusals];
    for (const { phase, words, sql, only_if, advice } of found) {
      // A rule with a condition and no SQL refuses where the condition holds.
      const [guard] =
        sql === null && only_if !== null
          ? await rows<{ holds: boolean }>(`SELECT (${only_if}) AS holds`)
          : [];
      if (phase === 'conflict' || guard?.holds) conflicts.push({ problem: words.join('; '), advice });
    }
    const [size = { bytes: 0, rows: 0, columnsLeft: 0 }] =
      await rows<Pick<Plan, 'bytes' | 'rows' | 'columnsLeft'>>(sizes);
    const [held] = await rows<Pick<Plan, 'holders'>>(holders("'ACCESS EXCLUSIVE'"));
    const plan: Omit<Plan, 'lines'> = {
      direction,
      table: tableName(change),
      ...size,
      rules: found,
      inBatches: batched.some(({ phase }) => ['stage', 'batch', 'again'].includes(phase)),
      conflicts,
      holders: held?.holders ?? null,
      knexLock,
      recorded,
    };
    return { ...plan, lines: [database, ...linesOf(plan)] };
  });
}

const sizes = `
WITH RECURSIVE ${tree}
SELECT sum(pg_relation_size(c.oid))::float8 AS bytes, sum(greatest(c.reltuples, 0))::float8 AS rows,
       (SELECT 1600 - max(attnum) FROM pg_attribute WHERE attrelid = ${target}) AS "columnsLeft"
FROM tree JOIN pg_class c ON c.oid = tree.oid`;

/** A committed is_locked is `down` or `rollback` at work, or what one left that was killed; `latest` never commits it. */
async function stateOfKnexLock(knex: Knex): Promise<Plan['knexLock']> {
  const lock = await askRecord<{ is_set: boolean; migrating: boolean }>(
    knex,
    '_lock',
    (name) =>
      `SELECT EXISTS (SELECT 1 FROM ${name} WHERE is_locked = 1) AS is_set,
              EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
                      WHERE l.locktype = 'advisory' AND l.objid = ${advisoryKey}::oid AND l.granted) AS migrating`,
  );
  if (!lock) return null;
  if (lock.migrating) return 'held';
  return lock.is_set ? 'stale' : 'free';
}

function linesOf(plan: Omit<Plan, 'lines'>): string[] {
  const { direction, table, bytes, rows, columnsLeft, conflicts, knexLock } = plan;
  const steps = plan.rules.filter((rule) => rule.sql !== null);
  const remarks = plan.rules.filter((rule) => rule.phase === 'warning' || rule.phase === 'note');
  return [
    `${table}: ${rows > 0 ? `about ${rows.toLocaleString('en')} rows` : 'rows not counted yet'}, ${(bytes / 1024 / 1024).toFixed(1)} MB; ${columnsLeft} more columns are possible`,
    ...conflicts.flatMap(({ problem, advice }) => [
      `conflict: ${problem}`,
      ...(advice ? [`  ${advice}`] : []),
    ]),
    ...remarks.map(
      ({ phase, words, advice }) => `${phase}: ${[...words, advice].filter(Boolean).join('. ')}`,
    ),
    ...(steps.length === 0
      ? [`${direction}: nothing to do`]
      : [`${direction}: in ${steps.length} parts, in this order`]),
    ...steps.flatMap(({ words, sql, only_if }) => [
      ...words.map((word) => `  - ${word.replace('{rows} ', '')}`),
      `      ${sql}`,
      ...(only_if ? [`      only if: ${only_if}`] : []),
    ]),
    ...(direction === 'up' && plan.recorded && steps.length > 0 ? [recordedTooEarly] : []),
    ...(plan.inBatches
      ? [
          'There are many values. The statements above are those of a script, in one transaction. Knex comes to the same:',
          'it archives, fills and gives back values before its lock, so many rows at a time, while everybody works on.',
        ]
      : []),
    plan.holders ? `It would wait for: ${plan.holders}` : 'Nobody holds a transaction on it.',
    ...(knexLock === 'held' ? ['A migration is running now.'] : []),
    ...(knexLock === 'stale'
      ? [
          "Knex's lock is set, and this migration is not at work: it was killed, or another one of its batch is at work.",
          'Where none is, release it: npx knex migrate:unlock',
        ]
      : []),
  ];
}
