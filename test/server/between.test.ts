import { everythingIn } from '../support/catalog';
import { databasePerTest, loadState } from '../support/database';
import { functions } from '../support/routes';

// What somebody has done to the table between the change and the way back, or after it.
const here = databasePerTest();
const everything = () => everythingIn(here().client);

test('spaces at the end of a value are a part of it', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await functions.up(here());
  await client.query("UPDATE user_profiles SET email_verification_token = rpad('t', 150) WHERE id = 1");
  expect((await functions.down(here())).join()).toMatch(/left as it is, as a value stands in the way/);
  const { rows } = await client.query(
    'SELECT length(email_verification_token) FROM user_profiles WHERE id = 1',
  );
  expect(rows).toEqual([{ length: 150 }]);
});

test('a row with a NULL in it is a value', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await functions.up(here());
  await client.query(`CREATE TYPE pair AS (a text, b text); ALTER TABLE user_profiles DROP external_id, ADD external_id pair;
    UPDATE user_profiles SET external_id = ROW('saml', NULL) WHERE id = 1`);
  await functions.down(here());
  const { rows } = await client.query(
    'SELECT external_id::text AS kept FROM user_profiles_0016_down_archive',
  );
  expect(rows).toEqual([{ kept: '(saml,)' }]);
});

test('the old name made again by hand beside the new one: refused, and not the new one dropped', async () => {
  const { client } = here();
  await loadState(client, '0015');
  const before = await everything();
  await functions.up(here());
  await client.query("ALTER TABLE user_profiles ADD backup_codes jsonb NOT NULL DEFAULT '[]'");
  const said = await functions.down(here()).catch(({ message }: Error) => message);
  expect(said).toContain('there is a column backup_codes again beside mfa_backup_codes');
  // As it says.
  await client.query(/ALTER TABLE .*;/.exec(String(said))?.[0] ?? '');
  await functions.down(here());
  expect(await everything()).toEqual(before);
});

test('an archive of which nothing is left goes, though one of its columns is there again already', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await functions.up(here());
  await client.query("UPDATE user_profiles SET auth_provider = 'ldap' WHERE id = 1");
  await functions.down(here());
  await client.query('ALTER TABLE user_profiles ADD external_id varchar(255)');
  expect((await functions.up(here())).join()).not.toMatch(/stays/);
  const { rows } = await client.query('SELECT auth_provider FROM user_profiles WHERE id = 1');
  expect(rows).toEqual([{ auth_provider: 'ldap' }]);
});
