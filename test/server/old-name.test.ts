import { tableChange } from '../../src/table-change';
import { databasePerTest, serverVersion } from '../support/database';
import { functions, migrate } from '../support/routes';

// What the column with the old name may be.
const here = databasePerTest('0015');
const testWithGenerated = serverVersion >= 12 ? test : test.skip;

testWithGenerated.each([
  ['alone', `'["A1"]'`, ''],
  ['beside the new one, whose value it shows', 'mfa_backup_codes', 'ADD COLUMN mfa_backup_codes text,'],
])('generated, %s: refused by its name, and what is said helps', async (_, expression, other) => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles DROP COLUMN backup_codes, ${other}
    ADD COLUMN backup_codes text GENERATED ALWAYS AS (${expression}) STORED`);
  const refusal: Error = await functions.up(here()).then(
    () => expect('refused').toBe('done') as never,
    (error) => error,
  );
  expect(refusal.message).toMatch(/: backup_codes is a generated column, and the application needs text\. /);
  await client.query(/ALTER TABLE .*;/.exec(refusal.message)?.[0] ?? '');
  await functions.up(here());
});

test('the new one but for its case', async () => {
  const { client, url } = here();
  await client.query(`CREATE TABLE notes (id int PRIMARY KEY, "Body" text, signed boolean);
    INSERT INTO notes VALUES (1, 'B', true)`);
  const change = tableChange({
    id: '7',
    table: 'notes',
    add: {},
    rename: { from: 'Body', to: 'body', type: 'text', moveWhere: 'signed', empty: '' },
  });
  await migrate(url, 'up', change);
  expect((await client.query('SELECT body FROM notes')).rows).toEqual([{ body: 'B' }]);
  await migrate(url, 'down', change);
  expect((await client.query('SELECT "Body" FROM notes')).rows).toEqual([{ Body: 'B' }]);
});
