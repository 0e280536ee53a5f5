import { knex } from 'knex';
import { Pool } from 'pg';
import knexConfig from '../../knexfile';
import { databasePerTest } from '../support/database';

const database = databasePerTest('0015');
const migration = '0016_add_security_fields';

beforeAll(() => {
  process.env['MIGRATION_QUIET'] = '1';
});

describe('an external pool', () => {
  async function pooled(max: number, options: object = {}, env = {}) {
    const pool = new Pool({ connectionString: database().url, max });
    // end() does not wait for the servers' side, and the next test ends whoever is left.
    pool.on('error', () => undefined).on('connect', (client) => client.on('error', () => undefined));
    const { connection: _, pool: __, ...config } = await knexConfig({ DATABASE_URL: 'postgres://h', ...env });
    return { pool, instance: knex({ ...config, ...options, connectionPool: pool }) };
  }

  test.each([
    [1, {}],
    [5, {}],
    // Plain Knex would wait for a second connection without a limit.
    [1, { client: 'pg' }],
  ])('of %d, and %j', async (max, options) => {
    const { pool, instance } = await pooled(max, options);
    expect((await instance.migrate.latest())[1]).toEqual([migration]);
    expect((await instance.migrate.down())[1]).toEqual([migration]);
    await instance.destroy();
    expect(pool.waitingCount).toBe(0);
    await pool.end();
  });

  test('whose connections are all taken is not waited for without a limit', async () => {
    const { pool, instance } = await pooled(1, { acquireConnectionTimeout: 200 });
    const taken = await pool.connect();
    await expect(instance.raw('SELECT 1')).rejects.toThrow('timeout exceeded when trying to connect');
    taken.release();
    expect((await instance.raw('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await pool.end();
  });

  test('has a search path of its own', async () => {
    await expect(pooled(1, {}, { DB_SCHEMA: 'theirs' })).rejects.toThrow(
      /^DB_SCHEMA \(searchPath\) does not reach a connectionPool/,
    );
  });
});
