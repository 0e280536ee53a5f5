import { plan } from '../../migrations/0016_add_security_fields';
import { tableChange } from '../../src/table-change';
import { connect, databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions } from '../support/routes';

const here = databasePerTest('0015');

/** What plan says of a rewrite. */
async function rewrites(change: { plan: typeof plan } = { plan }, direction?: 'down'): Promise<string[]> {
  const knex = await knexFor(here().url);
  try {
    return (await change.plan(knex, direction)).lines.filter((line) => line.includes('rewrites'));
  } finally {
    await knex.destroy();
  }
}

test('plan says that a server before 11 rewrites the table', async () => {
  expect(await rewrites()).toEqual(
    serverVersion < 11
      ? [
          expect.stringMatching(
            /before PostgreSQL 11 a column with a default rewrites the table \(\d+ kB\): readers wait/,
          ),
        ]
      : [],
  );
});

test('... but not for columns without one', async () => {
  const email_verified = { type: 'boolean', notNull: true, default: 'false' } as const;
  const add = { note: { type: 'text' }, email_verified } as const;
  expect(await rewrites(tableChange({ id: '16', table: 'user_profiles', add }))).toEqual([]);
});

test('... and that the way back does, where a column becomes narrow again; a snapshot of before finds no row then', async () => {
  const { client, url } = here();
  await functions.up(here());
  expect(await rewrites({ plan }, 'down')).toEqual([
    expect.stringMatching(/: a column that becomes narrow again rewrites the table \(\d+ kB\): /),
  ]);
  const dump = await connect(url);
  await dump.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM auth_user');
  await functions.down(here());
  expect((await dump.query('SELECT FROM user_profiles')).rowCount).toBe(0);
  await dump.end();
  expect((await client.query('SELECT FROM user_profiles')).rowCount).toBeGreaterThan(0);
});
