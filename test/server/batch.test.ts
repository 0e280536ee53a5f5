import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Knex } from 'knex';
import { MigrationSource } from '../../src/migration-source';
import { declaredShape, shapeOf } from '../support/application';
import { locksLeft, schemaOf } from '../support/catalog';
import { databasePerTest, loadState, serverVersion } from '../support/database';
import { knexFor, project } from '../support/knex';
import { scripts } from '../support/routes';

// 0016 among other migrations of one batch, for which Knex opens one transaction.
const here = databasePerTest();
const asDeclared = { ...declaredShape, mfa_backup_codes: 'jsonb' };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'migrations-'));
  migration(
    '0016_add_security_fields',
    `module.exports = require(${path('migrations/0016_add_security_fields')});`,
  );
});
afterEach(() => rmSync(folder, { recursive: true }));

const path = (file: string) => JSON.stringify(join(project, file));

/** Writes a migration file into the folder. */
function migration(name: string, text: string): void {
  writeFileSync(join(folder, `${name}.js`), text);
}

/** One whose `up` runs this SQL. */
const raw = (sql: string) => `
  exports.up = (knex) => knex.raw(${JSON.stringify(sql)}, []);
  exports.down = async () => {};`;

const creation = () =>
  raw(readFileSync(join(project, 'test/states/0015.sql'), 'utf8').replaceAll('?', '\\?'));

/** Works with a Knex on that folder; gives what was said. */
async function withKnex(
  work: (knex: Knex) => Promise<unknown>,
  migrations: Knex.MigratorConfig = {},
): Promise<string[]> {
  const knex = await knexFor(here().url, {
    migrations: { ...migrations, migrationSource: new MigrationSource(folder) },
  });
  const log = jest.spyOn(console, 'log').mockImplementation(() => undefined);
  const error = jest.spyOn(console, 'error').mockImplementation(() => undefined);
  try {
    await work(knex);
    return log.mock.calls.flat();
  } finally {
    log.mockRestore();
    error.mockRestore();
    await knex.destroy();
  }
}

const latest = (knex: Knex) => knex.migrate.latest();
const recorded = async () =>
  (await here().client.query('SELECT name FROM knex_migrations ORDER BY id')).rows.map(({ name }) => name);

test('an earlier migration creates the table: the change is made in the same transaction', async () => {
  migration('0001_create', creation());
  expect((await withKnex(latest))[0]).toBe(
    'This batch of Knex holds the table already: the change is made in its transaction.',
  );
  expect(await shapeOf(here().client)).toEqual(asDeclared);
  expect(await recorded()).toEqual(['0001_create', '0016_add_security_fields']);
  await withKnex((knex) => knex.migrate.rollback());
  expect(await recorded()).toEqual([]);
});

test('a setting of the transaction is for a later migration what it was for an earlier one', async () => {
  await loadState(here().client, '0015');
  const kept = (name: string) => raw(`CREATE TABLE ${name} AS SELECT name, setting FROM pg_settings`);
  migration('0015_limits', raw(`SET LOCAL idle_in_transaction_session_timeout = '7min'`));
  migration('0015_settings', kept('before'));
  migration('0017_settings', kept('after'));
  await withKnex(latest);
  const { rows } = await here().client.query(
    'SELECT name, b.setting AS before, a.setting AS after FROM after a JOIN before b USING (name) WHERE a.setting <> b.setting',
  );
  expect(rows).toEqual([]);
});

test('it creates the table, and a later one fails: all of it is taken back', async () => {
  migration('0001_create', creation());
  migration('0017_fails', raw('SELECT 1/0'));
  await withKnex(async (knex) => {
    await knex.migrate.list();
    const before = await schemaOf(here().client);
    await expect(knex.migrate.latest()).rejects.toThrow('division by zero');
    expect(await schemaOf(here().client)).toEqual(before);
  });
  expect(await recorded()).toEqual([]);
});

test('an earlier one writes to the table: pending trigger events, and constraints as deferred as before', async () => {
  await loadState(here().client, '0015');
  migration('0015_writes', raw('UPDATE user_profiles SET user_id = user_id, backup_codes = backup_codes'));
  // A profile of nobody, until the end of the transaction.
  migration(
    '0017_later',
    raw(
      `UPDATE user_profiles SET user_id = 999 WHERE user_id = 3; UPDATE user_profiles SET user_id = 3 WHERE user_id = 999`,
    ),
  );
  await withKnex(latest);
  expect(await shapeOf(here().client)).toEqual(asDeclared);
});

test('a deferred constraint in a schema that the role may not use', async () => {
  await here().admin.query(`CREATE SCHEMA theirs; CREATE TABLE theirs.one (id int PRIMARY KEY);
    CREATE TABLE theirs.two (id int REFERENCES theirs.one DEFERRABLE INITIALLY DEFERRED)`);
  migration('0015_locks', raw('LOCK TABLE user_profiles IN ACCESS SHARE MODE'));
  await loadState(here().client, '0015');
  await withKnex((knex) => knex.migrate.latest());
  expect(await shapeOf(here().client)).toEqual(asDeclared);
});

test('a later one fails: the change stays, unrecorded, and the next latest goes on from there', async () => {
  await loadState(here().client, '0015');
  migration('0017_fails', raw('SELECT 1/0'));
  await withKnex((knex) => expect(knex.migrate.latest()).rejects.toThrow('division by zero'));
  expect(await shapeOf(here().client)).toEqual(asDeclared);
  expect(await recorded()).toEqual([]);
  const before = await schemaOf(here().client);

  migration('0017_fails', raw('SELECT 1'));
  jest.resetModules();
  expect(await withKnex(latest)).toContain('user_profiles: nothing to do');
  expect(await recorded()).toEqual(['0016_add_security_fields', '0017_fails']);
  expect(await schemaOf(here().client)).toEqual(before);
});

test('a later one sleeps: the application goes on reading and writing, and nothing is locked', async () => {
  const { client } = here();
  await loadState(client, '0015');
  migration('0017_sleeps', raw('SELECT pg_sleep(1.5)'));
  let done = false;
  const running = withKnex(latest).finally(() => {
    done = true;
  });
  while (!done && !('external_id' in (await shapeOf(client)))) await setTimeout(20);

  let rounds = 0;
  while (!done) {
    await client.query(
      "UPDATE user_profiles SET external_id = 'x', mfa_backup_codes = NULL WHERE user_id = 2",
    );
    await client.query('SELECT * FROM user_profiles');
    rounds++;
    const locks = await locksLeft(client);
    if (!done) expect(locks).toEqual([]);
    await setTimeout(20);
  }
  await running;
  expect(rounds).toBeGreaterThan(10);
});

test('without transactions of Knex', async () => {
  await loadState(here().client, '0015');
  const before = await schemaOf(here().client);
  await withKnex(latest, { disableTransactions: true });
  expect(await shapeOf(here().client)).toEqual(asDeclared);
  await withKnex((knex) => knex.migrate.down(), { disableTransactions: true });
  expect(await schemaOf(here().client)).toEqual(before);
});

test.each([
  ['in its transaction', {}],
  ['without one', { disableTransactions: true }],
])('no second connection to be had: it is made on the first, %s, and that is said', async (_, migrations) => {
  const { admin, owner, client } = here();
  await loadState(client, '0015');
  // The test's own connection, and one.
  await admin.query(`ALTER ROLE ${owner} CONNECTION LIMIT 2`);
  expect((await withKnex(latest, migrations))[0]).toMatch(
    /^The change is made on Knex's own connection, as there is no second one: /,
  );
  expect(await shapeOf(client)).toEqual(asDeclared);
});

describe.each(['repeatable read', 'serializable'])('%s by default', (level) => {
  beforeEach(async () => {
    await here().admin.query(`ALTER DATABASE ${here().name} SET default_transaction_isolation = '${level}'`);
    await here().client.query(`SET default_transaction_isolation = '${level}'`);
  });

  test('Knex: there and back', async () => {
    await loadState(here().client, '0015');
    const before = await schemaOf(here().client);
    // Before 11 the program may not begin a transaction of another level.
    if (serverVersion < 11) {
      await expect(withKnex(latest)).rejects.toThrow("SET default_transaction_isolation = 'read committed'");
      return;
    }
    await withKnex(latest);
    expect(await shapeOf(here().client)).toEqual(asDeclared);
    await withKnex((knex) => knex.migrate.down());
    expect(await schemaOf(here().client)).toEqual(before);
  });

  test('the script: there and back, and in a transaction refused, with the statement that helps', async () => {
    const { client } = here();
    await loadState(client, '0015');
    const before = await schemaOf(client);
    const script = readFileSync(join(project, 'sql/add_security_fields.sql'), 'utf8');
    await client.query('BEGIN');
    await expect(client.query(script)).rejects.toMatchObject({
      message: `this transaction is ${level.toUpperCase()}: it would go on seeing user_profiles as it was before the lock`,
      hint: expect.stringContaining("SET default_transaction_isolation = 'read committed';"),
    });
    await client.query('ROLLBACK');
    expect(await schemaOf(client)).toEqual(before);
    // From 11 on it may COMMIT, and begins a transaction of another level by itself.
    if (serverVersion >= 11) {
      await scripts.up(here());
      expect(await shapeOf(client)).toEqual(asDeclared);
      await scripts.down(here());
    } else await expect(scripts.up(here())).rejects.toThrow('it would go on seeing user_profiles');
    expect(await schemaOf(client)).toEqual(before);

    await client.query("SET default_transaction_isolation = 'read committed'");
    await client.query('BEGIN');
    await client.query(script);
    await client.query('COMMIT');
    expect(await shapeOf(client)).toEqual(asDeclared);
  });
});
