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
  return withConnection(knex, async (connection) => {
    // Inside the caller's transaction a BEGIN would be ignored, and our ROLLBACK would end theirs.
    const [begin, end] = knex.isTransaction
      ? ['SAVEPOINT look', 'ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look']
      : ['BEGIN ISOLATION LEVEL READ COMMITTED', 'ROLLBACK'];
    const within = async <R>(settings: string, ask: () => Promise<R>) => {
      try {
        await connection.query(`${begin}; ${settings}`);
        return await ask();
      } finally {
        await connection.query(end).catch(() => undefined);
      }
    };
    const { database = '', host, port, user = '' } = connection;
    let target = '';
    try {
      return await work({
        database: `database ${database} at ${host}:${port} as ${user}`,
        dryRun: (direction) =>
          within("SET LOCAL table_change.dry = 'on'", () => dryRun(connection, change, direction)),
        rows: async (query, ...values) => {
          target ||= await within('', async () => {
            const { rows } = await connection.query(
              'SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS target',
              [tableName(change)],
            );
            return rows[0].target;
          });
          return within(
            `SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = ${policy.lockBudget}`,
            async () => (await connection.query(query, [target, ...values])).rows,
          );
        },
      });
    } catch (error) {
      throw explained(error);
    }
  });
}

/** Errors after which there is nothing to look at: no such table, no table, locked by somebody. */
const blind = ['42P01', '42809', '55P03'];

async function dryRun(connection: Connection, change: Change, direction: Direction): Promise<DryRun> {
  const notices: NoticeMessage[] = [];
  const onNotice = (notice: NoticeMessage) => notices.push(notice);
  connection.on('notice', onNotice);
  let refusal: string | null = null;
  try {
    await connection.query(program(change, direction, surroundings()));
  } catch (error) {
    const { code = '' } = error as DatabaseError;
    const shown = explained(error);
    if (blind.includes(code) || !(shown instanceof UserError)) throw shown;
    refusal = shown.message;
  } finally {
    connection.off('notice', onNotice);
  }
  const said = notices.map(({ severity, message = '' }) => ({ isWarning: severity === 'WARNING', message }));
  const isRemark = (message: string) => message.startsWith(`${tableName(change)}: `);
  return {
    steps: said.flatMap(({ message }) => (isRemark(message) ? [] : [message])),
    notes: said.flatMap(({ isWarning, message }) => (isRemark(message) && !isWarning ? [message] : [])),
    warnings: said.flatMap(({ isWarning, message }) => (isWarning ? [message] : [])),
    refusal,
  };
}
