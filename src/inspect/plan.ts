import type { Knex } from 'knex';
import { recordTable } from '../connection';
import type { Change } from '../declaration';
import type { Direction } from '../program/program';
import { looking, recordedTooEarly } from './looking';

const reconnect = `Prepared statements of open sessions that SELECT *, RETURNING * or read a widened column fail from then on (0A000):
restart the application, or in pgbouncer: RECONNECT.`;
const statistics = 'A column of another type loses its statistics: ANALYZE afterwards.';

const locked = {
  free: '',
  held: 'A migration is running now.',
  stale: `Knex's lock is set, and this migration is not at work: it was killed, or another one of its batch is at work.
Where none is, release it: npx knex migrate:unlock`,
};

/** @see TableChange.plan */
export async function planOf(knex: Knex, change: Change, direction: Direction) {
  const look = await looking(knex, change, direction);
  const { steps, notes, holders, recorded, knexLock } = look;
  const said = (...kinds: string[]) => look.advice(...kinds).map(({ line }) => line);
  // Asked through Knex's client, which says why the migrator would refuse its record.
  const { schemaName, tableName } = recordTable(knex.client.config);
  const names = knex.select('name').from(tableName);
  const asked = async () => void (await (schemaName ? names.withSchema(schemaName) : names));
  const refused = recorded === null ? null : await asked().catch(({ message }: Error) => message);
  const conflicts = [...said('conflict'), refused, look.refusal].flatMap((line) => line ?? []);
  const checks = direction === 'up' ? said('refusal', 'check') : [];
  const warnings = [...look.warned, ...said('warning'), ...new Set(checks)];
  const indented = (text: string) => text.replaceAll('\n', '\n  ');
  const lines = [
    look.database,
    ...conflicts.map((conflict) => `conflict: ${indented(conflict)}`),
    ...warnings.map((warning) => `warning: ${indented(warning)}`),
    ...notes,
    steps.length > 0 &&
      `${direction}: ${conflicts.length > 0 ? 'without the conflicts, ' : ''}these statements, in this order`,
    ...steps.map((statement) => `  ${indented(statement)}`),
    steps.some((statement) => /(ADD|DROP|RENAME) COLUMN | TYPE /.test(statement)) && reconnect,
    steps.some((statement) => / ALTER COLUMN .* TYPE /.test(statement)) && statistics,
    direction === 'up' && steps.length > 0 && recorded && recordedTooEarly(recorded, steps),
    direction === 'down' &&
      steps.length > 0 &&
      recorded === false &&
      'Knex has not recorded it, and npx knex migrate:down would not find it: npx knex migrate:latest before.',
    holders ? `It would wait for: ${holders}` : 'Nobody holds a transaction on it.',
    knexLock && locked[knexLock],
  ].flatMap((line) => line || []);
  return {
    direction,
    /** The statements that it would send, in their order; with a remark behind those that have a condition. */
    steps,
    /** What it leaves as it is, and why. */
    notes,
    warnings,
    /** The name under which Knex has it recorded; false where it has not, null where it has no table here that can be read. */
    recorded,
    /** Knex's lock. Set and stale: a migration was killed, or another one of its batch is at work. */
    knexLock,
    /** Why it would be refused, or this role may not do it here; each with what to do. */
    conflicts,
    /** Who holds a transaction on the table that the change would wait for; null where nobody does. */
    holders,
    /** All of this for a reader. */
    lines,
  };
}
