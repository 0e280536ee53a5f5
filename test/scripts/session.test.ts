import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from 'pg';
import { dataOf, schemaOf } from '../support/catalog';
import { databasePerTest, loadState, serverVersion, type TestDatabase } from '../support/database';
import { project } from '../support/knex';

const scriptText = (name: 'add' | 'remove') =>
  readFileSync(join(project, `sql/${name}_security_fields.sql`), 'utf8');
const [add, remove] = [scriptText('add'), scriptText('remove')];

/** A script that gives up after half a second, or after so many milliseconds. */
const impatient = (script: string, deadline = 500) =>
  script.replace("interval := '120 s'", `interval := '${deadline} ms'`);

let database: TestDatabase;
let client: Client;
const here = databasePerTest();
beforeEach(async () => {
  database = here();
  client = database.client;
  await loadState(client, '0015');
});

// Whoever is in the way in a test that fails is not in the way of the next one.
afterEach(() => database.admin.query('ROLLBACK'));

/** Everything that a script could leave in a session: settings, and what the session has opened or holds. */
async function sessionOf(session: Client): Promise<unknown> {
  await session.query('DO $$ BEGIN END $$'); // PL/pgSQL has settings of its own once it is loaded.

  const rows = async (sql: string) => (await session.query(sql)).rows;
  return {
    settings: await rows('SELECT name, setting FROM pg_settings ORDER BY name'),
    ours: await rows(`SELECT coalesce(current_setting('table_change.dry', true), '') AS dry`),
    roles: await rows('SELECT current_user, session_user'),
    cursors: await rows('SELECT name FROM pg_cursors WHERE name <> $$$$'),
    prepared: await rows('SELECT name FROM pg_prepared_statements'),
    channels: await rows('SELECT pg_listening_channels()'),
    temporary: await rows("SELECT relname FROM pg_class WHERE relpersistence = 't'"),
    locks: await rows(
      "SELECT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'",
    ),
  };
}

const odd = `SET search_path = public, pg_catalog; SET lock_timeout = '7s'; SET standard_conforming_strings = off;
  SET quote_all_identifiers = on; SET "DateStyle" = 'German'; SET "IntervalStyle" = 'sql_standard';
  SET client_min_messages = warning; SET extra_float_digits = 0; SET row_security = on; SET escape_string_warning = off`;

describe.each([
  ['a session with the server’s own settings', ''],
  ['a session with settings of its own', odd],
])('%s is as before', (_, settings) => {
  beforeEach(async () => {
    if (settings) await client.query(settings);
  });

  test('after success', async () => {
    const before = await sessionOf(client);
    for (const script of [add, add, remove, remove]) {
      await client.query(script);
      expect(await sessionOf(client)).toEqual(before);
    }
  });

  test('after a dry run, in a transaction and outside of one', async () => {
    await client.query("SET table_change.dry = 'on'");
    const [before, everything] = [await sessionOf(client), [await schemaOf(client), await dataOf(client)]];
    for (const begin of ['', 'BEGIN']) {
      await client.query(begin);
      for (const script of [add, remove]) await client.query(script);
      expect(await sessionOf(client)).toEqual(before);
      expect(
        (
          await client.query(
            "SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode ~ 'Exclusive'",
          )
        ).rows,
      ).toEqual([]);
    }
    await client.query('COMMIT');
    expect([await schemaOf(client), await dataOf(client)]).toEqual(everything);
  });

  test('after a refusal and after giving up', async () => {
    const before = await sessionOf(client);
    await database.admin.query('BEGIN; LOCK TABLE user_profiles IN ACCESS SHARE MODE');
    await expect(client.query(impatient(add))).rejects.toMatchObject({ code: '55P03' });
    expect(await sessionOf(client)).toEqual(before);
    await database.admin.query('ROLLBACK');
    await client.query('ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text');
    await expect(client.query(add)).rejects.toMatchObject({ code: 'P0001' });
    expect(await sessionOf(client)).toEqual(before);
  });

  test('inside a transaction of its own, after success', async () => {
    await client.query('BEGIN');
    const before = await sessionOf(client);
    for (const script of [add, add, remove, remove]) {
      await client.query(script);
      expect(await sessionOf(client)).toEqual(before);
    }
    await client.query('COMMIT');
  });

  test('inside a transaction of its own, after a failure and a savepoint', async () => {
    await client.query('ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text');
    await client.query('BEGIN; SAVEPOINT here');
    const before = await sessionOf(client);
    await expect(client.query(add)).rejects.toMatchObject({ code: 'P0001' });
    await client.query('ROLLBACK TO SAVEPOINT here');
    expect(await sessionOf(client)).toEqual(before);
    expect(
      (await client.query("SELECT mode FROM pg_locks WHERE relation = 'user_profiles'::regclass")).rows,
    ).toEqual([]);
    await client.query('ALTER TABLE user_profiles DROP COLUMN failed_login_attempts');
    await client.query(add);
    await client.query('COMMIT');
    expect((await client.query('SELECT external_id FROM user_profiles')).rowCount).toBe(20);
  });
});

test('foreign keys that are checked at COMMIT are still checked at COMMIT afterwards', async () => {
  await client.query('BEGIN');
  await client.query(add);
  await client.query('UPDATE user_profiles SET user_id = 9999 WHERE user_id = 1');
  await client.query('UPDATE user_profiles SET user_id = 1 WHERE user_id = 9999');
  await client.query('COMMIT');
});

test('after writes of one’s own in the same transaction, with checks still pending', async () => {
  await client.query('BEGIN');
  await client.query('UPDATE user_profiles SET user_id = user_id WHERE user_id < 5');
  await client.query('UPDATE user_profiles SET user_id = 100 WHERE user_id = 1');
  await client.query("UPDATE auth_user SET id = 100, username = 'moved' WHERE id = 1");
  await client.query(add);
  await client.query('COMMIT');
  expect((await client.query('SELECT external_id FROM user_profiles WHERE user_id = 100')).rowCount).toBe(1);
});

test('a transaction that is rolled back leaves nothing of the script', async () => {
  const [schema, data] = [await schemaOf(client), await dataOf(client)];
  await client.query('BEGIN');
  await client.query(add);
  await client.query('ROLLBACK');
  expect(await schemaOf(client)).toEqual(schema);
  expect(await dataOf(client)).toEqual(data);
});

test('under a stricter isolation level: a transaction of its own is READ COMMITTED, one of somebody else is refused', async () => {
  await client.query("SET default_transaction_isolation = 'repeatable read'");
  await client.query('BEGIN');
  const { message, hint } = await client.query(add).then(
    () => ({ message: '', hint: '' }),
    (error) => error,
  );
  await client.query('ROLLBACK');
  expect(message).toMatch('this transaction is REPEATABLE READ');
  const before = await sessionOf(client);
  if (serverVersion >= 11) await client.query(add);
  expect(await sessionOf(client)).toEqual(before);
  await client.query(/BEGIN ISOLATION LEVEL READ COMMITTED/.exec(hint)?.[0] ?? 'BEGIN');
  await client.query(add);
  await client.query('ROLLBACK');
  await client.query(/SET default_transaction_isolation = 'read committed'/.exec(hint)?.[0] ?? '');
  await client.query('BEGIN');
  await client.query(add);
  await client.query('COMMIT');
  expect((await client.query('SELECT external_id FROM user_profiles')).rowCount).toBe(20);
});

describe('whose transaction it is', () => {
  const yours = 'user_profiles: in a transaction of yours, nothing is there before its COMMIT';
  const said: (string | undefined)[] = [];
  beforeEach(() => {
    said.splice(0);
    client.on('notice', ({ message }) => said.push(message));
  });
  /** By the extended protocol, as JDBC and many a GUI: a transaction begins before the statement does. */
  const extended = (text: string) => client.query(Object.assign({ text }, { queryMode: 'extended' }));
  const send: [string, boolean, () => Promise<unknown>][] = [
    ['alone', false, () => client.query(add)],
    ['alone, by the extended protocol', false, () => extended(add)],
    ['behind another statement in one string', true, () => client.query(`SELECT 1; ${add}`)],
    ['behind BEGIN', true, () => client.query('BEGIN').then(() => client.query(add))],
    ['behind BEGIN, by the extended protocol', true, () => extended('BEGIN').then(() => extended(add))],
  ];
  (serverVersion >= 11 ? test : test.skip).each(send)('%s', async (_, isYours, sent) => {
    await sent();
    expect(said.includes(yours)).toBe(isYours);
    await client.query('COMMIT');
    await client.query('SELECT external_id FROM user_profiles');
  });
});

test('under a statement_timeout that is too short nothing is done, and what the header says works', async () => {
  await database.admin.query('BEGIN; SELECT count(*) FROM user_profiles');
  await client.query("SET statement_timeout = '300ms'");
  const [schema, session] = [await schemaOf(client), await sessionOf(client)];
  await expect(client.query(add)).rejects.toMatchObject({ code: '57014' });
  expect([await schemaOf(client), await sessionOf(client)]).toEqual([schema, session]);
  await database.admin.query('ROLLBACK');
  await client.query(/SET\s+statement_timeout = 0/.exec(add.replaceAll('\n-- ', ' '))?.[0] ?? '');
  await client.query(add);
});

test('under quote_all_identifiers types are still told from each other', async () => {
  await client.query('ALTER TABLE user_profiles ADD mfa_backup_codes text; SET quote_all_identifiers = on');
  for (const script of [add, remove]) await client.query(script);
});

test('nobody else’s functions and operators are called', async () => {
  // Better matches than pg_catalog's own wherever a name is not qualified and a type not the very one.
  await client.query(`
    CREATE SCHEMA trap;
    CREATE FUNCTION trap.sprung() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
    CREATE FUNCTION trap.eq(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()';
    CREATE FUNCTION trap.eq(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()';
    CREATE FUNCTION trap.eq(text, name) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()';
    CREATE FUNCTION trap.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()';
    CREATE FUNCTION trap.eq(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()';
    CREATE OPERATOR trap.= (PROCEDURE = trap.eq, LEFTARG = name, RIGHTARG = text);
    CREATE OPERATOR trap.= (PROCEDURE = trap.eq, LEFTARG = text, RIGHTARG = name);
    CREATE FUNCTION trap.concat_ws(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT trap.sprung()::text';
    CREATE FUNCTION trap.format_type(oid, integer) RETURNS text LANGUAGE sql AS 'SELECT trap.sprung()::text';
    CREATE FUNCTION trap.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT trap.sprung()::text';
    CREATE DOMAIN trap.text AS pg_catalog.text CHECK (false);
    CREATE DOMAIN trap.oid AS pg_catalog.oid CHECK (false);
    SET search_path = trap, pg_catalog, public`);
  for (const script of [add, remove]) await client.query(script);
});
