import type { Knex } from 'knex';
import { explained, type KnexClient, recordTable, withConnection } from '../connection';

/**
 * The first row of a query about Knex's record, or about its lock; undefined where there is no such table, or none that
 * this role may read.
 *
 * @param query made with the table's name, quoted
 * @throws UserError
 */
export async function askRecord<Row>(
  knex: Knex,
  suffix: '' | '_lock',
  query: (name: string) => string,
  ...values: readonly string[]
): Promise<Row | undefined> {
  const { config }: KnexClient = knex.client;
  const { schemaName, tableName } = recordTable(config);
  return withConnection(knex, async (connection) => {
    const name = [...(schemaName ? [schemaName] : []), tableName + suffix]
      .map((part) => connection.escapeIdentifier(part))
      .join('.');
    const found = await connection.query(
      "SELECT has_table_privilege(to_regclass($1)::oid, 'SELECT') AS is_readable",
      [name],
    );
    if (!found.rows[0].is_readable) return undefined;
    return (await connection.query(query(name), [...values])).rows[0];
  }).catch((error) => {
    throw explained(error);
  });
}
