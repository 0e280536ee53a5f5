import type { Knex } from 'knex';
import { explained, type KnexClient, recordTable, withConnection } from '../connection';
import type { Change } from '../declaration';

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

/** Whether Knex has a migration recorded whose name begins with the id; null where Knex has no table here that can be read. */
export async function isRecorded(knex: Knex, { id }: Change): Promise<boolean | null> {
  const record = await askRecord<{ holds: boolean }>(
    knex,
    '',
    (name) => `SELECT EXISTS (SELECT 1 FROM ${name} WHERE left(name, length($1::text)) = $1) AS holds`,
    `${id}_`,
  );
  return record?.holds ?? null;
}

/** What is said where Knex takes for done what is not. */
export const recordedTooEarly =
  'Knex has it recorded, so npx knex migrate:latest would do nothing: npx knex migrate:down deletes the record, then migrate:latest';
