import { everythingIn } from '../support/catalog';
import { connect, databasePerTest } from '../support/database';
import { functions, scripts } from '../support/routes';

// What only says what it would do is asked for in so many words, and says that it is that.
const here = databasePerTest('0015');
const everything = () => everythingIn(here().client);

test('a script that is dry says so, first of all', async () => {
  const before = await everything();
  await here().client.query("SET table_change.dry = 'on'");
  const [first, second] = await scripts.up(here());
  expect(first).toBe('user_profiles: a dry run, as table_change.dry is on: nothing is changed');
  expect(second).toMatch(/^CREATE TABLE /);
  expect(await everything()).toEqual(before);
});

test('it says at its end who would be waited for', async () => {
  const other = await connect(here().url);
  await other.query("SET application_name = 'report'; BEGIN; SELECT FROM user_profiles");
  await here().client.query("SET table_change.dry = 'on'");
  expect((await scripts.up(here())).pop()).toMatch(
    /^user_profiles: it would wait\. Held by pid \d+, .* 'report', idle in transaction/,
  );
  await other.query('ROLLBACK');
  expect((await scripts.up(here())).pop()).not.toMatch(/it would wait/);
  await other.end();
});

test('what is neither on nor off is an error', async () => {
  const before = await everything();
  await here().client.query("SET table_change.dry = 'dry'");
  await expect(scripts.up(here())).rejects.toThrow('invalid input syntax for type boolean: "dry"');
  expect(await everything()).toEqual(before);
});

test.each(['ROLE', 'DATABASE'])('Knex is never dry, whatever ALTER %s ... SET says', async (where) => {
  const { admin, owner, name } = here();
  const before = await everything();
  await admin.query(`ALTER ${where} ${where === 'ROLE' ? owner : name} SET table_change.dry = 'on'`);
  await functions.up(here());
  await here().client.query('SELECT external_id FROM user_profiles');
  await functions.down(here());
  expect(await everything()).toEqual(before);
});
