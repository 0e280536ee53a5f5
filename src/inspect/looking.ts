import type { Knex } from 'knex';
import type { DatabaseError } from 'pg';
import { type Connection, explained, withConnection } from '../connection';
import type { Change } from '../declaration';
import { policy } from '../program/policy';
import { type Direction, program, tableName } from '../program/program';
import { send, surroundings } from '../run';
import { UserError } from '../user-error';
import { holders } from './advice';
import type { DryRun } from './plan';

/** A look at the table that locks nothing which a reader does not lock. */
export interface Look extends DryRun {
  /** Which database, for a reader. */
  readonly database: string;
  /** The rows of a query, on a search_path on which no name is somebody else's: $1 is the table's oid, $2 the first value. */
  readonly rows: <Row extends object>(query: string, ...values: readonly string[]) => Promise<Row[]>;
}

/** @throws UserError where there is no table to look at */
export async function looking<T>(
  knex: Knex,
  change: Change,
  direction: Direction,
  work: (look: Look) => Promise<T>,
): Promise<T> {
  const table = tableName(change);
  const wait = `SET LOCAL lock_timeout = ${policy.lockBudget}`;
  return withConnection(knex, async (connection) => {
    const lookUp = 'SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS target';
    const [{ target }] = (await connection.query(lookUp, [table])).rows;
    const rows: Look['rows'] = (query, ...values) =>
      undone(knex, connection, `${wait}; SET LOCAL search_path = pg_catalog, pg_temp`, async () => {
        return (await connection.query(query, [target, ...values])).rows;
      });
    const { database = '', host, port, user = '' } = connection;
    const isRemark = (line: string) => line.startsWith(`${table}: `);
    try {
      const dry = `${wait}; SET LOCAL table_change.dry = 'on'`;
      const { said, refusal } = await tried(knex, connection, change, direction, dry);
      return await work({
        steps: said.filter((line) => !/^WARNING: /.test(line) && !isRemark(line)),
        notes: said.filter(isRemark),
        warnings: said.flatMap((line) => /^WARNING: (.*)$/s.exec(line)?.[1] ?? []),
        refusal: refusal?.replace(`${table} is left as it was: `, '') ?? null,
        database: `database ${database} at ${host}:${port} as ${user}`,
        rows,
      });
    } catch (error) {
      if ((error as DatabaseError).code !== '55P03') throw error;
      const [held] = await rows<{ line: string }>(holders);
      throw new UserError(
        `${table} is locked: everybody who reads it waits, and this look would.\nHeld by ${held?.line}`,
      );
    }
  }).catch((error) => {
    throw explained(error);
  });
}

/** Errors that say nothing of the change: no connection, no memory, no lock, interrupted; no table to change. */
const blind = /^(|08...|53...|55P03|57...|42P01|42809)$/;

/** What the program says where everything is taken back, and why it refuses. @throws where it could not try */
export async function tried(
  knex: Knex,
  connection: Connection,
  change: Change,
  direction: Direction,
  settings = '',
): Promise<{ said: string[]; refusal: string | null }> {
  const said: string[] = [];
  const statement = program(change, direction, surroundings());
  const report = (line: string) => said.push(line);
  try {
    await undone(knex, connection, settings, () =>
      send(connection, connection, statement, report, 'Nothing has changed.'),
    );
    return { said, refusal: null };
  } catch (error) {
    const { code = '', message } = error as DatabaseError;
    const shown = explained(error);
    const isRefusal = !blind.test(code) || message.includes(' is left as it was: ');
    if (!isRefusal || code === '55P03' || !(shown instanceof UserError)) throw error;
    return { said, refusal: shown.message };
  }
}

/** Works, and takes it back. In the caller's transaction a BEGIN would be ignored, and our ROLLBACK end theirs. */
async function undone<R>(
  knex: Knex,
  connection: Connection,
  settings: string,
  work: () => Promise<R>,
): Promise<R> {
  const [begin, end] = knex.isTransaction
    ? ['SAVEPOINT look', 'ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look']
    : ['BEGIN ISOLATION LEVEL READ COMMITTED', 'ROLLBACK'];
  try {
    await connection.query(`${begin}; ${settings}`);
    return await work();
  } finally {
    await connection.query(end).catch(() => undefined);
  }
}
