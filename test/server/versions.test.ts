import { plan } from '../../migrations/0016_add_security_fields';
import { tableChange } from '../../src/table-change';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';

const here = databasePerTest('0015');

/** What plan says of a rewrite. */
async function rewrites(change: { plan: typeof plan } = { plan }): Promise<string[]> {
  const knex = await knexFor(here().url);
  try {
    return (await change.plan(knex)).lines.filter((line) => line.includes('rewrites'));
  } finally {
    await knex.destroy();
  }
}

test('plan says that a server before 11 rewrites the table', async () => {
  expect(await rewrites()).toEqual(
    serverVersion < 11
      ? [
          expect.stringMatching(
            /before PostgreSQL 11 a column with a default rewrites the table, and readers wait/,
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
