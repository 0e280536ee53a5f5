import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { connect, databasePerTest } from '../support/database';
import { knexCommand, knexFor, type Outcome } from '../support/knex';
import { psqlScript, testWithPsql } from '../support/psql';
import { isFull } from './numbers';
import { shapeOf } from './profiles';

// Others who take SHARE UPDATE EXCLUSIVE, as the program does, and wait for everybody's snapshot while they have it.

const here = databasePerTest('0015');

const routes: readonly [name: string, send: () => Promise<Outcome>][] = [
  ['migrate:latest', () => knexCommand(['migrate:latest'], { DATABASE_URL: here().url })],
  ['add_security_fields.sql', () => psqlScript('add_security_fields', here().url)],
];
const each = routes.map(([name, send]) => [name, send, name.endsWith('.sql') ? testWithPsql : test] as const);

const trials = Array.from({ length: isFull ? 20 : 2 }, (_, i) => i + 1);

/** Resolves when a query of the superuser's gives a row. */
async function until(query: string): Promise<void> {
  while ((await here().admin.query(query)).rows.length === 0) await sleep(20);
}

const atWork = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DO $program$%' AND state = 'active'`;

async function expectDone({ code, stderr }: Outcome) {
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(await shapeOf(here().client)).toBe('after');
  const invalid = await here().client.query('SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid');
  expect(invalid.rows).toEqual([]);
}

describe.each(each)('%s', (_name, send, testWith) => {
  testWith.each(trials)('an index built concurrently has the table first (trial %i)', async () => {
    const { url } = here();
    // A snapshot that the build waits for, with the table locked.
    const old = await connect(url);
    await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM auth_user');
    const builder = await connect(url);
    const built = builder.query('CREATE INDEX CONCURRENTLY beside ON user_profiles (phone)');
    await until(
      `SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event = 'virtualxid'`,
    );
    const sent = send();
    await until(atWork);
    await sleep(Math.random() * 4000);
    await old.end();
    await expect(built).resolves.toMatchObject({ command: 'CREATE' });
    await expectDone(await sent);
    await builder.end();
  });

  testWith('an index is built while it waits', async () => {
    const { url } = here();
    const reader = await connect(url);
    await reader.query('BEGIN; SELECT 1 FROM user_profiles');
    const sent = send();
    await until(atWork);
    const builder = await connect(url);
    await builder.query('CREATE INDEX CONCURRENTLY beside ON user_profiles (phone)');
    await Promise.all([builder.end(), reader.end()]);
    await expectDone(await sent);
  });
});

// Of a script alone: Knex's transaction, which has locked its own table, keeps rows from VACUUM until it ends.
testWithPsql('VACUUM removes rows that are deleted while a script waits', async () => {
  const { client, admin, url } = here();
  await client.query('CREATE TABLE elsewhere AS SELECT generate_series(1, 1000) AS n');
  const reader = await connect(url);
  await reader.query('BEGIN; SELECT 1 FROM user_profiles');
  const sent = psqlScript('add_security_fields', url);
  await until(atWork);
  await client.query('DELETE FROM elsewhere');
  const isThere = `SELECT FROM pg_class WHERE oid = 'elsewhere'::regclass AND relpages > 0`;
  do await client.query('VACUUM elsewhere');
  while ((await client.query(isThere)).rows.length > 0);
  expect((await admin.query(atWork)).rows).toHaveLength(1);
  await reader.end();
  await expectDone(await sent);
});

describe('many times there and back, while another session, again and again,', () => {
  const pause = () => sleep(Math.random() * 400);
  const query = (statements: string) => (other: Client) => other.query(statements);
  const byPsql = async (url: string) => {
    const ways = [
      ['add_security_fields', 'after'],
      ['remove_security_fields', 'before'],
    ] as const;
    for (const [script, shape] of ways) {
      expect(await psqlScript(script, url)).toMatchObject({ code: 0 });
      expect(await shapeOf(here().client)).toBe(shape);
    }
  };
  const byKnex = async (url: string) => {
    const knex = await knexFor(url);
    for (const way of ['latest', 'down'] as const) {
      // A build that looks round in the moment in which Knex's transaction reads waits for its end, and we for the build.
      await knex.migrate[way]().catch((error: Error) => {
        expect(error.message).toContain('run the same command again');
        return knex.migrate[way]();
      });
      expect(await shapeOf(here().client)).toBe(way === 'latest' ? 'after' : 'before');
    }
    await knex.destroy();
  };

  testWithPsql.each<[string, (typeof byPsql)[], ...((other: Client) => Promise<unknown>)[]]>([
    [
      'builds an index concurrently',
      [byPsql, byKnex],
      query('CREATE INDEX CONCURRENTLY beside ON user_profiles (phone)'),
      query('DROP INDEX CONCURRENTLY beside'),
      pause,
    ],
    ['vacuums', [byPsql, byKnex], query('VACUUM user_profiles')],
    // Longer than a try, with a pause.
    [
      'reports',
      [byPsql, byKnex],
      query('BEGIN; SELECT count(*), pg_sleep(0.25) FROM (SELECT FROM user_profiles) p; COMMIT'),
      pause,
    ],
  ])('%s: neither fails', async (_, routes, ...work) => {
    const { client, url } = here();
    const other = await connect(url);
    let [rounds, isOver] = [0, false];
    const busy = (async () => {
      for (; !isOver; rounds++) for (const step of work) await step(other);
    })();
    jest.spyOn(console, 'log').mockImplementation(() => undefined);
    for (let trial = 0; trial < (isFull ? 40 : 20); trial++) await routes[trial % routes.length]?.(url);
    jest.restoreAllMocks();
    isOver = true;
    await busy;
    expect(rounds).toBeGreaterThan(5);
    const { rows } = await client.query('SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid');
    expect(rows).toEqual([]);
    await other.end();
  });
});
