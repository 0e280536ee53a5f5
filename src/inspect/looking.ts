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

/** What a query finds, for a reader; of a column, if it is about one. */
export interface Line {
  readonly line: string;
  readonly name: string;
}

/** A look at the table that locks nothing which a reader does not lock. */
export interface Look extends DryRun {
  /** Which database, for a reader. */
  readonly database: string;
  readonly rows: Rows;
}

/** The rows of a query, on a search_path on which no name is somebody else's. The table's oid is $1, the first value $2. */
type Rows = <Row extends Line>(query: string, ...values: (string | readonly string[])[]) => Promise<Row[]>;

/** @throws UserError where there is no table to look at */
export async function looking<T>(
  knex: Knex,
  change: Change,
  direction: Direction,
  work: (look: Look) => Promise<T>,
): Promise<T> {
  const table = tableName(change);
  const asking = <R>(ask: (rows: Rows, connection: Connection) => Promise<R>) =>
    undone(knex, async (connection) => {
      const lookUp = 'SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS target';
      const [{ target }] = (await connection.query(lookUp, [table])).rows;
      await connection.query(
        `SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = ${policy.lockBudget}`,
      );
      return ask(
        async (query, ...values) => (await connection.query(query, [target, ...values])).rows,
        connection,
      );
    });
  try {
    const { said, refusal } = await tried(knex, change, direction, true);
    const isRemark = (line: string) => line.startsWith(`${table}: `);
    return await asking((rows, { database = '', host, port, user = '' }) =>
      work({
        steps: said.filter((line) => !/^WARNING: /.test(line) && !isRemark(line)),
        notes: said.filter(isRemark),
        warnings: said.flatMap((line) => /^WARNING: (.*)$/s.exec(line)?.[1] ?? []),
        refusal: refusal?.replace(`${table} is left as it was: `, '') ?? null,
        database: `database ${database} at ${host}:${port} as ${user}`,
        rows,
      }),
    );
  } catch (error) {
    if ((error as DatabaseError).code !== '55P03') throw explained(error);
    const [held] = await asking((rows) => rows(holders));
    throw new UserError(
      `${table} is locked: everybody who reads it waits, and this look would.\nHeld by ${held?.line}`,
    );
  }
}

/** Errors that say nothing of the change: no connection, no memory, no lock, interrupted; no table to change. */
const blind = /^(|08...|53...|55P03|57...|42P01|42809)$/;

/**
 * What the program says where everything is taken back, and why it refuses. While it waits it says so at once.
 *
 * @throws where it could not try
 */
export async function tried(
  knex: Knex,
  change: Change,
  direction: Direction,
  dry = false,
): Promise<{ said: string[]; refusal: string | null }> {
  const said: string[] = [];
  const statement = program(change, direction, { ...surroundings(), dry });
  const report = (line: string) => {
    if (/\bTry \d+; the next one in /.test(line)) console.error(line);
    else said.push(line);
  };
  try {
    await undone(knex, (connection) =>
      send(connection, connection, statement, report, 'Nothing has changed.'),
    );
    return { said, refusal: null };
  } catch (error) {
    const { code = '', message } = error as DatabaseError;
    const isRefusal = !blind.test(code) || message.includes(' is left as it was: ');
    if (!isRefusal || code === '55P03') throw error;
    return { said, refusal: explained(error).message };
  }
}

/** Works, and takes it back. In the caller's transaction a BEGIN would be ignored, and our ROLLBACK end theirs. */
async function undone<R>(knex: Knex, work: (connection: Connection) => Promise<R>): Promise<R> {
  const [begin, end] = knex.isTransaction
    ? ['SAVEPOINT look', 'ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look']
    : ['BEGIN ISOLATION LEVEL READ COMMITTED', 'ROLLBACK'];
  return withConnection(knex, async (connection) => {
    await connection.query(begin);
    try {
      return await work(connection);
    } finally {
      await connection.query(end).catch(() => undefined);
    }
  });
}
