import type { Client } from 'pg';
import { connect, freshDatabase, loadState, type TestDatabase } from '../support/database';
import { beginKnex, knexCommand, type Outcome, projectCommand } from '../support/knex';
import { type Pooler, pgbouncerVersion, startPgbouncer } from '../support/pgbouncer';

const version = pgbouncerVersion();
if (!version) {
  console.warn('SKIPPED: pgbouncer is not installed here (Debian: apt-get install pgbouncer).');
}
const suite = version ? describe : describe.skip;

/** What a session has that is not as the server gives it: settings, prepared statements, cursors, temporary tables, locks. */
async function sessionState(url: string): Promise<unknown> {
  const client = await connect(url);
  try {
    return await stateOf(client);
  } finally {
    await client.end();
  }
}

async function stateOf(client: Client): Promise<unknown> {
  const { rows } = await client.query(`
    SELECT (SELECT json_agg(format('%s = %s', name, setting) ORDER BY name) FROM pg_settings
            WHERE source = 'session' AND name NOT LIKE 'transaction%' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone')) AS settings,
           (SELECT count(*)::int FROM pg_prepared_statements) AS prepared,
           (SELECT count(*)::int FROM pg_class WHERE relpersistence = 't') AS temporary,
           (SELECT count(*)::int FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE locktype = 'advisory' AND datname = current_database()) AS advisory,
           current_user = session_user AS plain_user`);
  return rows[0];
}

suite.each([5, 1])('pgbouncer in transaction mode, %i server connections', (poolSize) => {
  let database: TestDatabase;
  let pooler: Pooler;
  beforeEach(async () => {
    database = await freshDatabase();
    await loadState(database.client, '0015');
    pooler = await startPgbouncer(database, poolSize);
  });
  afterEach(async () => {
    await pooler.close();
    await database.close();
  });

  const knex = (...args: string[]): Promise<Outcome> => knexCommand(args, { DATABASE_URL: pooler.url });
  const command = (name: string, ...args: string[]): Promise<Outcome> =>
    projectCommand(name, args, { DATABASE_URL: pooler.url });

  test('plan, latest, verify and down work, and leave nothing in a session', async () => {
    const before = await sessionState(pooler.url);
    expect(await command('plan')).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('RENAME COLUMN backup_codes'),
    });
    const latest = await knex('migrate:latest');
    expect(latest).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('Batch 1 run: 1 migrations'),
    });
    if (poolSize === 1)
      expect(latest.stdout).toContain("on Knex's own connection, as there is no second one");
    expect(await command('verify')).toMatchObject({ code: 0, stderr: '' });
    expect(await command('plan', '--down')).toMatchObject({ code: 0, stderr: '' });
    expect(await knex('migrate:down')).toMatchObject({ code: 0, stderr: '' });
    expect(await command('verify')).toMatchObject({ code: 1, stderr: '' });
    expect(await sessionState(pooler.url)).toEqual(before);
  });

  test('an interrupt while it waits: cancelled, and everybody else goes on', async () => {
    const holder = await connect(database.url);
    await holder.query('BEGIN; SELECT FROM user_profiles');
    const { child, outcome } = beginKnex(['migrate:latest'], { DATABASE_URL: pooler.url });
    child.stdout?.on('data', (text: string) => {
      if (text.includes('Try 1; ')) child.kill('SIGINT');
    });
    expect(await outcome).toMatchObject({ code: 1, stderr: expect.stringContaining('SIGINT: ended (') });
    await holder.end();
    expect(await knex('migrate:latest')).toMatchObject({ code: 0, stderr: '' });
  });

  test("a schema by name: refused, as the setting would be somebody else's, with the way that works", async () => {
    await database.client.query(
      'CREATE SCHEMA ehr; ALTER TABLE user_profiles SET SCHEMA ehr; ALTER TABLE auth_user SET SCHEMA ehr',
    );
    const { code, stderr } = await knexCommand(['migrate:latest'], {
      DATABASE_URL: pooler.url,
      DB_SCHEMA: 'ehr',
    });
    expect(code).toBe(1);
    expect(stderr).toContain(
      'DB_SCHEMA is a setting of the session, and a pooler (pgbouncer, perhaps) stands before',
    );
    expect(await sessionState(pooler.url)).toMatchObject({ settings: null });

    await pooler.close();
    await database.admin.query(
      `ALTER ROLE ${database.owner} IN DATABASE ${database.name} SET search_path = ehr, public`,
    );
    pooler = await startPgbouncer(database, poolSize);
    expect(await knex('migrate:latest')).toMatchObject({ code: 0, stderr: '' });
    expect(await command('verify')).toMatchObject({ code: 0, stderr: '' });
  });
});
