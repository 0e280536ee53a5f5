import type { Knex } from 'knex';
import type { DatabaseError } from 'pg';
import type { NoticeMessage } from 'pg-protocol/dist/messages';
import { type Connection, explained, withConnection } from '../connection';
import type { Change } from '../declaration';
import { policy } from '../program/policy';
import { type Direction, program, tableName } from '../program/program';
import { surroundings } from '../run';
import { UserError } from '../user-error';

/** What the program says that it would do. */
export interface DryRun {
  /** The statements that it would send, in their order; with "-- only if" behind those that have a condition. */
  readonly steps: readonly string[];
  /** What it leaves as it is, and why. */
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  /** Why it would refuse, and what to do; null where it would not. */
  readonly refusal: string | null;
}

/** A look at the table that locks nothing which a reader does not lock. */
export interface Look {
  /** Which database, for a reader. */
  readonly database: string;
  readonly dryRun: (direction: Direction) => Promise<DryRun>;
  /**
   * The rows of a query, under a search_path on which no name can be somebody else's. The table's oid is $1 in it,
   * `values` are $2 and so on.
   */
  readonly rows: <Row extends object>(query: string, ...values: readonly string[]) => Promise<Row[]>;
}

/** @throws UserError where there is no table to look at */
export async function looking<T>(knex: Knex, change: Change, work: (look: Look) => Promise<T>): Promise<T> {
  const table = tableName(change);
  return withConnection(knex, async (connection) => {
    const { database = '', host, port, user = '' } = connection;
    const found = await connection.query('SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS target', [
      table,
    ]);
    const within = <R>(setting: string, ask: () => Promise<R>) =>
      undone(knex, connection, `SET LOCAL lock_timeout = ${policy.lockBudget}; SET LOCAL ${setting}`, ask);
    return work({
      database: `database ${database} at ${host}:${port} as ${user}`,
      dryRun: (direction) =>
        within("table_change.dry = 'on'", () =>
          dryRun(connection, table, program(change, direction, surroundings())),
        ),
      rows: (query, ...values) =>
        within('search_path = pg_catalog, pg_temp', async () => {
          return (await connection.query(query, [found.rows[0].target, ...values])).rows;
        }),
    });
  }).catch((error) => {
    throw explained(error);
  });
}

/** Works, and takes it back. In the caller's transaction a BEGIN would be ignored, and our ROLLBACK end theirs. */
export async function undone<R>(
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

async function dryRun(connection: Connection, table: string, statement: string): Promise<DryRun> {
  const said: { isWarning: boolean; message: string }[] = [];
  const onNotice = ({ severity, message = '' }: NoticeMessage) =>
    said.push({ isWarning: severity === 'WARNING', message });
  connection.on('notice', onNotice);
  let refusal: string | null = null;
  try {
    await connection.query(statement);
  } catch (error) {
    const { code = '', detail = '' } = error as DatabaseError;
    if (code === '55P03') {
      throw new UserError(
        `${table} is locked: everybody who reads it waits, and this look would.\n${detail}`,
      );
    }
    const shown = explained(error);
    // There is no such table, or it is none.
    if (['42P01', '42809'].includes(code) || !(shown instanceof UserError)) throw shown;
    refusal = shown.message;
  } finally {
    connection.off('notice', onNotice);
  }
  const isRemark = (message: string) => message.startsWith(`${table}: `);
  const messages = (wanted: boolean) =>
    said.flatMap((one) => (one.isWarning === wanted ? [one.message] : []));
  return {
    steps: messages(false).filter((message) => !isRemark(message)),
    notes: messages(false).filter(isRemark),
    warnings: messages(true),
    refusal,
  };
}
