import { type Knex, knex } from 'knex';
import knexConfig from '../../knexfile';

/** Looks at the configured database and prints what was found: as JSON, or its lines for a reader. */
export async function inspect<Found extends { readonly lines: readonly string[] }>(
  look: (database: Knex) => Promise<Found>,
  asJson = false,
): Promise<Found> {
  const database = knex(await knexConfig());
  try {
    const found = await look(database);
    const { lines, ...data } = found;
    console.log(asJson ? JSON.stringify(data, null, 2) : lines.join('\n'));
    return found;
  } finally {
    await database.destroy();
  }
}
