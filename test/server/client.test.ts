import { UserError } from '../../src/user-error';
import { databasePerTest, urlWith } from '../support/database';
import { knexFor } from '../support/knex';

const database = databasePerTest('0015');

/** Runs with a Knex of the project's configuration, and closes it. */
async function withKnex<T>(
  work: (knex: Awaited<ReturnType<typeof knexFor>>) => Promise<T>,
  url = database().url,
  env = {},
) {
  const knex = await knexFor(url, {}, env);
  try {
    return await work(knex);
  } finally {
    await knex.destroy();
  }
}

/** The error of `work`, which has to be one for the user. */
async function complaint(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(UserError);
  return error.message;
}

const ask = (url: string, env = {}) => withKnex((knex) => knex.raw('SELECT 1'), url, env);

test('it says who it is', async () => {
  const { rows } = await withKnex((knex) => knex.raw('SHOW application_name'));
  expect(rows).toEqual([{ application_name: 'add-security-fields 0016' }]);
});

test('what failed, why, and what to do', async () => {
  expect(await complaint(ask('postgres://u@127.0.0.1:1/d'))).toMatch(
    /"d" at 127.0.0.1:1 as "u": nothing listens there.\n/,
  );
  expect(await complaint(ask(urlWith(database().url, { password: 'wrong' })))).toMatch(
    /password authentication failed/,
  );
  expect(await complaint(ask(urlWith(database().url, { pathname: 'no' })))).toMatch(
    /database "no" does not exist.\nCheck/,
  );
  expect(await complaint(ask(database().url, { DB_SSLROOTCERT: '/no.pem' }))).toMatch(
    /^The file in DB_SSLROOTCERT cannot be read: ENOENT/,
  );
});

test('an error that it does not know keeps the words of the server', async () => {
  const { admin, name, url } = database();
  await admin.query('UPDATE pg_database SET datallowconn = false WHERE datname = $1', [name]);
  expect(await complaint(ask(url))).toMatch(/: database "test_\w+" is not currently accepting connections.$/);
});

test('a schema that is not there, and one that is', async () => {
  const { client, url } = database();
  expect(await complaint(ask(url, { DB_SCHEMA: 'theirs' }))).toBe(
    'There is no schema "theirs" in this database. Check DB_SCHEMA.',
  );
  await client.query('CREATE SCHEMA theirs');
  const { rows } = await withKnex((knex) => knex.raw('SHOW search_path'), url, { DB_SCHEMA: 'theirs' });
  expect(rows).toEqual([{ search_path: 'theirs, public' }]);
});

describe('a server that takes no writes', () => {
  const readOnly =
    /^cannot execute UPDATE in a read-only transaction.\nThis server takes no writes: it is a standby/;

  test('no migrator gets as far as its lock', async () => {
    const { admin, owner } = database();
    await withKnex((knex) => knex.migrate.list());
    await admin.query(`ALTER ROLE ${owner} SET default_transaction_read_only = on`);
    expect(await complaint(withKnex((knex) => knex.migrate.latest()))).toMatch(readOnly);
    expect(await complaint(withKnex((knex) => knex.migrate.up()))).toMatch(readOnly);
    expect(await complaint(withKnex((knex) => knex.migrate.down()))).toMatch(readOnly);
    expect(await complaint(withKnex((knex) => knex.migrate.rollback()))).toMatch(readOnly);
    expect(await withKnex((knex) => knex.migrate.list())).toEqual([[], [expect.anything()]]);
  });

  test('nor makes its tables', async () => {
    const { admin, owner } = database();
    await admin.query(`ALTER ROLE ${owner} SET default_transaction_read_only = on`);
    expect(await complaint(withKnex((knex) => knex.migrate.list()))).toMatch(
      /^cannot execute .*read-only transaction.\nThis server/,
    );
  });

  test('who only reads is let through', async () => {
    const { admin, owner } = database();
    await admin.query(`ALTER ROLE ${owner} SET default_transaction_read_only = on`);
    const people = await withKnex(async (knex) => {
      await knex.raw('SELECT 1');
      return knex.transaction((trx) => trx('user_profiles').count(), { readOnly: true });
    });
    expect(people).toEqual([{ count: '20' }]);
  });
});
