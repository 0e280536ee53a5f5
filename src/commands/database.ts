import { type Knex, knex } from 'knex';
import knexConfig from '../../knexfile';

/** Works with the configured database. */
export async function withDatabase<T>(work: (database: Knex) => Promise<T>): Promise<T> {
  const database = knex(await knexConfig());
  return work(database).finally(() => database.destroy());
}
