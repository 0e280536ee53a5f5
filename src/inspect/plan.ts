import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { type Direction, tableName } from '../program/program';
import { checks, conflicts, holders, tree, warnings } from './advice';
import { type Line, looking } from './looking';
import { type KnexRecord, recordedTooEarly, recordOf } from './record';

/** What the program says in a dry run. */
export interface DryRun {
  /** The statements that it would send, in their order; with "-- only if" behind those that have a condition. */
  readonly steps: readonly string[];
  /** What it leaves as it is, and why. */
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  /** Why it would refuse, and what to do; null where it would not. */
  readonly refusal: string | null;
}

/** What would be done. */
export interface Plan extends DryRun, KnexRecord {
  readonly direction: Direction;
  readonly table: string;
  /** Bytes of the table with its partitions, without indexes. */
  readonly bytes: number;
  /** The server's estimate. */
  readonly rows: number;
  /** Why it would be refused, or this role may not do it here; each with what to do. */
  readonly conflicts: readonly string[];
  /** Who holds a transaction on the table that the change would wait for; null where nobody does. */
  readonly holders: string | null;
  /** All of this for a reader. */
  readonly lines: readonly string[];
}

/** @see TableChange.plan */
export async function planOf(knex: Knex, change: Change, direction: Direction): Promise<Plan> {
  const record = await recordOf(knex, change);
  const { columns, rename } = change;
  const written = [...columns.map(({ name }) => name), ...(rename ? [rename.from, rename.to] : [])];
  const required = columns.flatMap(({ name, notNull }) => (notNull ? [name] : []));
  return looking(knex, change, direction, async ({ database, rows, ...found }) => {
    const ask = async (...query: Parameters<typeof rows>) => (await rows(...query)).map(({ line }) => line);
    const steps = found.steps.join('\n');
    const checked = await ask(checks, written, required);
    const [size = { bytes: 0, rows: 0 }] = await rows<Line & Pick<Plan, 'bytes' | 'rows'>>(sizes);
    const plan: Omit<Plan, 'lines'> = {
      direction,
      table: tableName(change),
      bytes: size.bytes,
      rows: size.rows,
      ...found,
      conflicts: [...(await ask(conflicts, steps)), ...(found.refusal === null ? [] : [found.refusal])],
      warnings: [
        ...found.warnings,
        ...(/(ADD|DROP|RENAME) COLUMN/.test(steps) ? await ask(warnings, steps) : []),
        ...(direction === 'up' ? new Set(checked) : []),
      ],
      holders: (await ask(holders))[0] ?? null,
      ...record,
    };
    return { ...plan, lines: [database, ...linesOf(plan)] };
  });
}

const sizes = `
WITH RECURSIVE ${tree}
SELECT sum(pg_relation_size(c.oid))::float8 AS bytes, sum(greatest(c.reltuples, 0))::float8 AS rows
FROM pg_class c JOIN tree ON tree.oid = c.oid`;

function linesOf(plan: Omit<Plan, 'lines'>): string[] {
  const { direction, table, bytes, rows, steps, notes, recorded, knexLock } = plan;
  const indented = (text: string) => text.replaceAll('\n', '\n  ');
  return [
    `${table}: ${rows > 0 ? `about ${rows.toLocaleString('en')} rows` : 'rows not counted yet'}, ${(bytes / 1024 / 1024).toFixed(1)} MB`,
    ...plan.conflicts.map((conflict) => `conflict: ${indented(conflict)}`),
    ...plan.warnings.map((warning) => `warning: ${indented(warning)}`),
    ...notes,
    ...(steps.length > 0 ? [`${direction}: these statements, in this order`] : []),
    ...steps.map((statement) => `  ${indented(statement)}`),
    ...(steps.some((statement) => statement.startsWith('ALTER TABLE'))
      ? [
          'Prepared statements of open sessions that SELECT *, RETURNING * or read a widened column fail from then on (0A000):',
          'restart the application, or in pgbouncer: RECONNECT.',
        ]
      : []),
    ...(direction === 'up' && recorded && steps.length > 0 ? [recordedTooEarly(recorded)] : []),
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
