import type { Knex } from 'knex';
import { type Connection, explained, withConnection } from '../connection';
import type { Change } from '../declaration';
import { aim, refusals } from '../program/table';
import { UserError } from '../user-error';

/** A look at the table, under a search_path on which no name can be somebody else's. */
export interface Look {
  /** Why this role may not change the table here, though it may look. */
  readonly refusals: readonly { readonly problem: string; readonly advice: string }[];
  /** The rows of one of the program's queries. */
  readonly rows: <Row extends object>(query: string, ...values: readonly string[]) => Promise<Row[]>;
}

/**
 * Gives what `work` reads, in a transaction that is rolled back.
 *
 * @throws UserError where there is no table to look at
 */
export async function looking<T>(knex: Knex, change: Change, work: (look: Look) => Promise<T>): Promise<T> {
  // Inside the caller's transaction a BEGIN would be ignored, and our ROLLBACK would end theirs.
  const [begin, end] = knex.isTransaction
    ? ['SAVEPOINT look', 'ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look']
    : ['BEGIN ISOLATION LEVEL READ COMMITTED', 'ROLLBACK'];
  return withConnection(knex, async (connection: Connection) => {
    await connection.query(begin);
    try {
      await connection.query(`SELECT ${aim(change)}`);
      await connection.query('SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL row_security = off');
      const rows: Look['rows'] = async (query, ...values) =>
        (await connection.query(query, [...values])).rows;
      const refused = await rows<{ problem: string; advice: string; blind: boolean }>(refusals(change));
      const blind = refused.find((refusal) => refusal.blind);
      if (blind) throw new UserError(`${blind.problem}.\n${blind.advice}`);
      return await work({ refusals: refused, rows });
    } catch (error) {
      throw explained(error);
    } finally {
      await connection.query(end).catch(() => undefined);
    }
  });
}
