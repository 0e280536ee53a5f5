import { plan } from '../../migrations/0016_add_security_fields';
import { tableChange } from '../../src/table-change';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, migrate } from '../support/routes';

const here = databasePerTest('0015');

test('plan and up say that a server before 11 rewrites the table, with the estimate of its rows', async () => {
  await here().client.query('ANALYZE user_profiles');
  const knex = await knexFor(here().url);
  const { lines, rules } = await plan(knex);
  await knex.destroy();
  const said = [...lines, ...(await functions.up(here()))].filter((line) => /rewrites/.test(line));
  const warning =
    /before PostgreSQL 11 a column with a default rewrites the table, and readers wait: about 20 rows, \d+ (bytes|kB)$/;
  expect(said).toEqual(
    serverVersion < 11 ? [expect.stringMatching(warning), expect.stringMatching(warning)] : [],
  );
  expect(rules.filter(({ phase }) => phase === 'note')).toHaveLength(serverVersion < 11 ? 1 : 0);
});

test('... but not for columns without one', async () => {
  const email_verified = { type: 'boolean', notNull: true, default: 'false' } as const;
  const add = { note: { type: 'text' }, email_verified } as const;
  const said = await migrate(here().url, 'up', tableChange({ id: '16', table: 'user_profiles', add }));
  expect(said.slice(2)).toEqual([
    'user_profiles: add note text',
    'user_profiles: set the default of email_verified to false',
  ]);
});
