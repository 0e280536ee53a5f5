import type { Knex } from 'knex';
import type { DatabaseError } from 'pg';
import { explained, withConnection } from '../connection';
import type { Change } from '../declaration';
import { holders } from '../program/lock';
import { policy } from '../program/policy';
import { aim, refusals, tableName } from '../program/table';
import { UserError } from '../user-error';

/** A look at the table, under a search_path on which no name can be somebody else's. */
export interface Look {
  /** Which database, for a reader. */
  readonly database: string;
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
  return withConnection(knex, async (connection) => {
    const rows: Look['rows'] = async (query, ...values) => (await connection.query(query, [...values])).rows;
    const aimed = `${begin}; SELECT ${aim(change)}; SET LOCAL search_path = pg_catalog, pg_temp`;
    try {
      // The server's own functions (pg_get_expr, pg_relation_size) read the table under ACCESS SHARE.
      await connection.query(
        `${aimed}; SET LOCAL row_security = off; SET LOCAL lock_timeout = ${policy.lockBudget}`,
      );
      const refused = await rows<{ problem: string; advice: string; blind: boolean }>(refusals(change));
      const blind = refused.find((refusal) => refusal.blind);
      if (blind) throw new UserError(`${blind.problem}.\n${blind.advice}`);
      const { database = '', host, port, user = '' } = connection;
      return await work({
        database: `database ${database} at ${host}:${port} as ${user}`,
        refusals: refused,
        rows,
      });
    } catch (error) {
      if ((error as DatabaseError).code !== '55P03') throw explained(error);
      await connection.query(`${end}; ${aimed}`);
      const [held] = (await rows<{ holders: string | null }>(holders("'ACCESS EXCLUSIVE'"))).map((row) =>
        row.holders ? `Held by ${row.holders}` : 'Whoever held it has let go since.',
      );
      throw new UserError(
        `${tableName(change)} is locked: everybody who reads it waits, and this look would.\n${held}\nTry again when it is free.`,
      );
    } finally {
      await connection.query(end).catch(() => undefined);
    }
  });
}
