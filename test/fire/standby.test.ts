import { setTimeout as sleep } from 'node:timers/promises';
import { policy } from '../../src/program/policy';
import { locksLeft } from '../support/catalog';
import { freshDatabase, loadState, type TestDatabase } from '../support/database';
import { beginKnex, knexCommand, type Outcome, type Running } from '../support/knex';
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

/** Begins a command, lets it come to wait for the standby, and sends signals until it ends. Readers wait for nothing. */
async function endedWhileWaiting(begin: () => Running, signal: NodeJS.Signals): Promise<Outcome> {
  const [{ child, outcome }, { longest, elsewhere }] = await readersDuring(database.url, async () => {
    const running = begin();
    await waiting();
    await sleep(500);
    return running;
  });
  process.stderr.write(`longest read ${Math.round(longest)} ms, elsewhere ${Math.round(elsewhere)} ms\n`);
  expect(longest).toBeLessThan(policy.lockBudget + elsewhere);
  // The first ends our wait. Then Knex's own COMMIT waits.
  for (; child.exitCode === null && child.signalCode === null; await sleep(500)) child.kill(signal);
  expect(await shapeOf(database.client)).toBe('after');
  expect(await locksLeft(database.client)).toEqual([]);
  return outcome;
}

describe.each(['SIGINT', 'SIGTERM'] as const)('readers wait for nothing, and %s ends it', (signal) => {
  test('migrate:latest', async () => {
    const begin = () => beginKnex(['migrate:latest'], { DATABASE_URL: database.url });
    const { stdout, stderr } = await endedWhileWaiting(begin, signal);
    expect({ stdout, stderr }).toEqual({
      stdout: expect.stringMatching(
        `now it waits for the standby \\(nobody\\)[^]*${signal} came too late: the work is done`,
      ),
      stderr: '',
    });
    await awaited('');
    expect(await knexCommand(['migrate:latest'], { DATABASE_URL: database.url })).toMatchObject({ code: 0 });
  });

  testWithPsql('add_security_fields.sql', async () => {
    const { stderr } = await endedWhileWaiting(() => beginPsql('add_security_fields', database.url), signal);
    expect(stderr).toContain('ADD COLUMN failed_login_attempts');
    expect(stderr).toContain('now it waits for the standby (nobody)');
    expect(stderr).not.toContain('ERROR');
    if (signal === 'SIGINT') expect(stderr).toContain('The transaction has already committed locally');
  });
});
