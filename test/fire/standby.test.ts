import { setTimeout as sleep } from 'node:timers/promises';
import { locksLeft } from '../support/catalog';
import { freshDatabase, loadState, type TestDatabase } from '../support/database';
import { beginKnex, knexCommand } from '../support/knex';
import { beginPsql, testWithPsql } from '../support/psql';
import { startTestServer, type TestServer } from '../support/server';
import { shapeOf } from './profiles';
import { readersDuring } from './readers';

// Every COMMIT waits for a standby that is not there.

let server: TestServer;
let database: TestDatabase;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.remove());

beforeEach(async () => {
  database = await freshDatabase(server.url);
  await loadState(database.client, '0015');
  // Knex makes its own tables before, and would wait there.
  await knexCommand(['migrate:list'], { DATABASE_URL: database.url });
  await awaited('nobody');
});
afterEach(async () => {
  await awaited('');
  await database.close();
});

/** Whom a COMMIT waits for. */
async function awaited(standby: string): Promise<void> {
  const { admin } = database;
  await admin.query('SET synchronous_commit = local');
  await admin.query(`ALTER SYSTEM SET synchronous_standby_names = '${standby}'`);
  await admin.query('SELECT pg_reload_conf()');
  while ((await admin.query('SHOW synchronous_standby_names')).rows[0].synchronous_standby_names !== standby)
    await sleep(20);
}

/** Resolves when somebody waits for the standby. */
async function waiting(): Promise<void> {
  const query = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`;
  while ((await database.admin.query(query)).rows.length === 0) await sleep(20);
}

describe.each(['SIGINT', 'SIGTERM'] as const)('%s', (signal) => {
  test('migrate:latest', async () => {
    const [{ child, outcome }, { longest, elsewhere }] = await readersDuring(database.url, async () => {
      const running = beginKnex(['migrate:latest'], { DATABASE_URL: database.url });
      await waiting();
      await sleep(1000);
      return running;
    });
    expect(longest).toBeLessThan(200 + elsewhere);
    child.kill(signal);
    const { code, stdout, stderr } = await outcome;
    console.log({
      code,
      stdout,
      stderr,
      shape: await shapeOf(database.client),
      locks: await locksLeft(database.client),
    });
  });

  testWithPsql('add_security_fields.sql', async () => {
    const [{ child, outcome }, { longest, elsewhere }] = await readersDuring(database.url, async () => {
      const running = beginPsql('add_security_fields', database.url);
      await waiting();
      await sleep(1000);
      return running;
    });
    expect(longest).toBeLessThan(200 + elsewhere);
    child.kill(signal);
    const { code, stdout, stderr } = await outcome;
    console.log({
      code,
      stdout,
      stderr,
      shape: await shapeOf(database.client),
      locks: await locksLeft(database.client),
    });
  });
});
