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

test('the old name made again by hand as a copy, and the change once more: no spent code works again', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await functions.up(here());
  await client.query(`ALTER TABLE user_profiles ADD backup_codes jsonb; UPDATE user_profiles SET backup_codes = mfa_backup_codes;
    UPDATE user_profiles SET mfa_backup_codes = NULL`);
  const said = await functions.up(here()).catch(({ message }: Error) => message);
  expect(said).toContain('there is a column backup_codes again beside mfa_backup_codes');
  await client.query(/ALTER TABLE .*;/.exec(String(said))?.[0] ?? '');
  await functions.up(here());
  expect((await client.query('SELECT FROM user_profiles WHERE mfa_backup_codes IS NOT NULL')).rows).toEqual(
    [],
  );
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

test('an archive that was made wider by hand: what is in it comes back, and the column stays wide', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await client.query(`ALTER TABLE user_profiles ALTER backup_codes TYPE varchar(100);
    ALTER TABLE user_profiles ADD mfa_backup_codes text; UPDATE user_profiles SET mfa_backup_codes = '["B"]' WHERE id = 2`);
  await functions.up(here());
  await client.query(`ALTER TABLE user_profiles_0016_up_archive ALTER backup_codes TYPE text;
    UPDATE user_profiles_0016_up_archive SET backup_codes = rpad('["A"]', 150) WHERE id = 2`);
  await functions.down(here());
  const { rows } = await client.query('SELECT backup_codes FROM user_profiles WHERE id = 2');
  expect(rows).toEqual([{ backup_codes: '["A"]'.padEnd(150) }]);
});

test.each([
  ['a key with a declared column in it', 'ADD PRIMARY KEY (user_id, email_verified)', ''],
  [
    'a column that each new table is given',
    'ADD PRIMARY KEY (id)',
    `CREATE FUNCTION loaded() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
       IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity ~ '_down_archive$') THEN
         EXECUTE 'ALTER TABLE public.user_profiles_0016_down_archive ADD loaded_at timestamptz';
       END IF; END $$;
     CREATE EVENT TRIGGER loaded ON ddl_command_end WHEN TAG IN ('CREATE TABLE AS') EXECUTE PROCEDURE loaded()`,
  ],
])('%s: the archive is told by its own key, and values come back', async (_, key, event) => {
  const { client, admin } = here();
  await loadState(client, '0015');
  await client.query(`ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey CASCADE, ${key}`);
  await admin.query(event);
  await functions.up(here());
  await client.query("UPDATE user_profiles SET external_id = 'x'");
  await functions.down(here());
  await admin.query('DROP EVENT TRIGGER IF EXISTS loaded');
  await functions.up(here());
  const { rows } = await client.query("SELECT FROM user_profiles WHERE external_id IS DISTINCT FROM 'x'");
  expect(rows).toEqual([]);
});
