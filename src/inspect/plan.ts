import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { type Direction, tableName } from '../program/program';
import { advisoryKey } from '../run';
import { advice } from './advice';
import { type DryRun, looking } from './looking';
import { askRecord, isRecorded, recordedTooEarly } from './record';

/** What would be done. */
export interface Plan extends DryRun {
  readonly direction: Direction;
  readonly table: string;
  /** Bytes of the table with its partitions, without indexes. */
  readonly bytes: number;
  /** The server's estimate. */
  readonly rows: number;
  /** Why this role may not do it here, or what else stands in the way; empty where nothing does. */
  readonly conflicts: readonly string[];
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
  return looking(knex, change, async ({ database, dryRun, rows }) => {
    const found = await dryRun(direction);
    const advised = await advice(rows, change, direction);
    const [size = { bytes: 0, rows: 0, columnsLeft: 0 }] = await rows<Size>(sizes);
    const plan: Omit<Plan, 'lines'> = {
      ...found,
      direction,
      table: tableName(change),
      bytes: size.bytes,
      rows: size.rows,
      conflicts: [...advised.conflicts, ...(found.refusal === null ? [] : [found.refusal])],
      warnings: [...found.warnings, ...advised.warnings],
      holders: advised.holders,
      knexLock,
      recorded,
    };
    return { ...plan, lines: [database, ...linesOf(plan, size.columnsLeft)] };
  });
}

interface Size extends Pick<Plan, 'bytes' | 'rows'> {
  /** How many columns can still be added: a table has 1,600 numbers, and dropped columns keep theirs. */
  readonly columnsLeft: number;
}

const sizes = `
WITH RECURSIVE tree (oid) AS (
  SELECT $1::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
)
SELECT sum(pg_relation_size(c.oid))::float8 AS bytes, sum(greatest(c.reltuples, 0))::float8 AS rows,
       (SELECT 1600 - max(attnum) FROM pg_attribute WHERE attrelid = $1) AS "columnsLeft"
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

function linesOf(plan: Omit<Plan, 'lines'>, columnsLeft: number): string[] {
  const { direction, table, bytes, rows, steps, notes, warnings, conflicts, knexLock } = plan;
  return [
    `${table}: ${rows > 0 ? `about ${rows.toLocaleString('en')} rows` : 'rows not counted yet'}, ${(bytes / 1024 / 1024).toFixed(1)} MB` +
      (columnsLeft < 100 ? `; only ${columnsLeft} more columns are possible, as dropped ones count too` : ''),
    ...conflicts.map((conflict) => `conflict: ${conflict.replaceAll('\n', '\n  ')}`),
    ...warnings.map((warning) => `warning: ${warning}`),
    ...notes,
    ...(steps.length > 0 ? [`${direction}: these statements, in this order`] : []),
    ...steps.map((statement) => `  ${statement.replaceAll('\n', '\n  ')}`),
    ...(direction === 'up' && plan.recorded && steps.length > 0 ? [recordedTooEarly] : []),
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
