import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Knex } from 'knex';
import { recordTable, undone } from '../connection';
import type { Change } from '../declaration';
import { policy } from '../program/policy';
import { type Direction, tableName } from '../program/program';
import { advisoryKey } from '../run';
import { rehearsalOf } from './rehearse';

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
  const waits = `${table}: it would wait. Held by `;
  const { schemaName: schema, tableName: name } = recordTable(knex.client.config);
  const ofKnex = [name, `${name}_lock`].map((table) => tableName({ schema, table }));
  return undone(knex, async (connection) => {
    // Names are looked up on the role's own search_path; then every one is the catalog's.
    const oids = [1, 2, 3].map((n) => `pg_catalog.to_regclass($${n})::pg_catalog.oid AS _${n}`);
    const { rows } = await connection.query(`SELECT ${oids}`, [table, ...ofKnex]);
    // From 12 on the server would compile so long a query for seconds; before 11 it has no such setting.
    await connection.query(`SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = ${policy.lockBudget};
      SET LOCAL quote_all_identifiers = off; SET LOCAL standard_conforming_strings = on;
      SELECT set_config(name, 'off', true) FROM pg_settings WHERE name = 'jit'`);
    const asked = JSON.stringify({ ...change, role });
    const values = [...Object.values(rows[0]), asked, steps.join('\n'), advisoryKey];
    const advice = readFileSync(join(__dirname, 'advice.sql'), 'utf8');
    const found = await connection.query<{ kind: string; name: string; line: string | null }>(advice, values);
    const lines = found.rows.flatMap(({ line, ...about }) => (line === null ? [] : [{ ...about, line }]));
    const told = (...kinds: string[]) => lines.filter(({ kind }) => kinds.includes(kind));
    const record = told('record')[0]?.line ?? null;
    const { database = '', host, port, user = '' } = connection;
    return {
      steps,
      notes: said.filter((line) => isRemark(line) && !line.startsWith(waits)),
      holders: said.flatMap((line) => line.split(waits)[1] ?? [])[0] ?? null,
      warned: said.flatMap((line) => /^WARNING: (.*)$/s.exec(line)?.[1] ?? []),
      recorded: record === '' ? (false as const) : record,
      knexLock: (told('lock')[0]?.line ?? null) as 'free' | 'held' | 'stale' | null,
      refusal: refusal?.replace(`${table} is left as it was: `, '') ?? null,
      database: `database ${database} at ${host}:${port} as ${user}`,
      advice: told,
    };
  });
}

/** What is said where Knex takes for done what is not, or not all of it: down would take back the rest. */
export const recordedTooEarly = (name: string, steps: readonly string[]) =>
  `Knex has it recorded, so npx knex migrate:latest would do nothing: ${
    steps[0]?.startsWith('CREATE TABLE')
      ? `npx knex migrate:down ${name} deletes the record, then migrate:latest`
      : 'its SQL script does what is left, and the record stays'
  }`;
