import { type Knex, knex } from 'knex';
import knexConfig from '../../knexfile';

/** Works with the configured database. */
export async function withDatabase<T>(work: (database: Knex) => Promise<T>): Promise<T> {
  const database = knex(await knexConfig());
  return work(database).finally(() => database.destroy());
}

/** Looks at the configured database and prints what was found: as JSON, or its lines for a reader. */
export async function inspect<Found extends { readonly lines: readonly string[] }>(
  look: (database: Knex) => Promise<Found>,
  asJson = false,
): Promise<Found> {
  const found = await withDatabase(look);
  const { lines, ...data } = found;
  console.log(asJson ? JSON.stringify(data, null, 2) : lines.join('\n'));
  return found;
}
