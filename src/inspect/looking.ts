import type { Knex } from 'knex';
import { escapeIdentifier } from 'pg';
import { recordTable, undone } from '../connection';
import type { Change } from '../declaration';
import { policy } from '../program/policy';
import { type Direction, tableName } from '../program/program';
import { advice } from './advice';
import { rehearsalOf } from './rehearse';

/** What the program says in a dry run, and Knex's own tables. */
export interface Look {
  /** The statements that it would send, in their order; with a remark behind those that have a condition. */
  readonly steps: readonly string[];
  /** What it leaves as it is, and why. */
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  /** The name under which Knex has it recorded; false where it has not, null where it has no table here that can be read. */
  readonly recorded: string | false | null;
  /** Knex's lock. Set and stale: a migration was killed, or another one of its batch is at work. */
  readonly knexLock: 'free' | 'held' | 'stale' | null;
}

/**
 * A look at the table, which locks nothing that a reader does not lock: also why it would be refused, if it would, and what the
 * catalog tells, by kinds.
 *
 * @throws UserError where there is no table to look at
 */
export async function looking(knex: Knex, change: Change, direction: Direction, role?: string) {
  const table = tableName(change);
  const { said, refusal } = await rehearsalOf(knex, change, direction, true);
  const isRemark = (line: string) => line.startsWith(`${table}: `);
  const steps = said.filter((line) => !/^WARNING: /.test(line) && !isRemark(line));
  const { schemaName, tableName: record } = recordTable(knex.client.config);
  const ofKnex = [record, `${record}_lock`].map((name) =>
    (schemaName ? [schemaName, name] : [name]).map(escapeIdentifier).join('.'),
  );
  return undone(knex, async (connection) => {
    // Names are looked up on the role's own search_path; then every one is the catalog's.
    const oids = [1, 2, 3].map((n) => `pg_catalog.to_regclass($${n})::pg_catalog.oid AS _${n}`);
    const { rows } = await connection.query(`SELECT ${oids}`, [table, ...ofKnex]);
    // From 12 on the server would compile so long a query for seconds; before 11 it has no such setting.
    await connection.query(`SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = ${policy.lockBudget};
      SELECT set_config(name, 'off', true) FROM pg_settings WHERE name = 'jit'`);
    const values = [...Object.values(rows[0]), JSON.stringify({ ...change, role }), steps.join('\n')];
    const found = await connection.query<{ kind: string; name: string; line: string | null }>(advice, values);
    const lines = found.rows.flatMap(({ line, ...about }) => (line === null ? [] : [{ ...about, line }]));
    const [record, lock] = ['record', 'lock'].map(
      (wanted) => lines.find(({ kind }) => kind === wanted)?.line,
    );
    const { database = '', host, port, user = '' } = connection;
    const look: Look = {
      steps,
      notes: said.filter(isRemark),
      warnings: said.flatMap((line) => /^WARNING: (.*)$/s.exec(line)?.[1] ?? []),
      recorded: record === '' ? false : (record ?? null),
      knexLock: (lock ?? null) as Look['knexLock'],
    };
    return {
      look,
      refusal: refusal?.replace(`${table} is left as it was: `, '') ?? null,
      database: `database ${database} at ${host}:${port} as ${user}`,
      advice: (...kinds: string[]) => lines.filter(({ kind }) => kinds.includes(kind)),
    };
  });
}

/** What is said where Knex takes for done what is not. */
export const recordedTooEarly = (name: string) =>
  `Knex has it recorded, so npx knex migrate:latest would do nothing: npx knex migrate:down ${name} deletes the record, then migrate:latest`;
