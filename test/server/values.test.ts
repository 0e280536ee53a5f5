import { tableChange } from '../../src/table-change';
import { declaredShape, valuesOf, writeValues } from '../support/application';
import { schemaOf } from '../support/catalog';
import { databasePerTest, loadState } from '../support/database';
import { functions, migrate, type Route, scripts } from '../support/routes';

const here = databasePerTest();
const columns = Object.keys(declaredShape);

test.each([
  ['0015', functions, scripts],
  ['0015-described', scripts, functions],
  ['both-names', functions, functions],
  ['repaired-by-hand', scripts, scripts],
] as const)('%s: latest, values, down, latest brings every value back', async (state, there, back) => {
  const { client } = here();
  await loadState(client, state);
  const schemaBefore = await schemaOf(client);
  await there.up(here());
  await writeValues(client);
  const values = await valuesOf(client, [...columns, 'mfa_backup_codes']);
  const schema = await schemaOf(client);

  await back.down(here());
  const kept = (await schemaOf(client)).filter((line) => !line.includes('user_profiles_0016_down_archive'));
  expect(kept).toEqual(schemaBefore);

  await there.up(here());
  expect(await valuesOf(client, [...columns, 'mfa_backup_codes'])).toEqual(values);
  expect(await schemaOf(client)).toEqual(schema);
});

test('a token of 150 characters stays, and so does the type that holds it', async () => {
  const { client } = here();
  await loadState(client, '0015');
  const before = await schemaOf(client);
  await functions.up(here());
  const token = 't'.repeat(150);
  await client.query('UPDATE user_profiles SET email_verification_token = $1 WHERE user_id = 3', [token]);
  const said = (await functions.down(here())).join('\n');
  const left =
    /^user_profiles: left as it is, as a value stands in the way\. At a quiet hour: (ALTER TABLE .*;)$/m;
  const [, statement = ''] = left.exec(said) ?? [];
  const { rows } = await client.query('SELECT email_verification_token FROM user_profiles WHERE user_id = 3');
  expect(rows).toEqual([{ email_verification_token: token }]);
  expect(await schemaOf(client)).toEqual(
    before.map((line) =>
      line.startsWith('column user_profiles.email_verification_token')
        ? line.replace('varying(100)', 'varying(255)')
        : line,
    ),
  );
  // As it says.
  await client.query(`UPDATE user_profiles SET email_verification_token = NULL; ${statement}`);
  expect(await schemaOf(client)).toEqual(before);
});

test('values of a person who is gone stay in the archive, which stays and is said', async () => {
  const { client } = here();
  await loadState(client, '0015-described');
  await functions.up(here());
  await writeValues(client);
  await functions.down(here());
  await client.query('DELETE FROM user_profiles WHERE user_id = 5');
  const said = await functions.up(here());
  expect(said).toContain(
    'user_profiles: public.user_profiles_0016_down_archive stays: it holds values that are not back: the row is gone, or the column is another one. Look into it (row-level security may hide its rows), then drop it',
  );
  const { rows } = await client.query('SELECT external_id FROM user_profiles_0016_down_archive');
  expect(rows).toEqual([{ external_id: 'external-5' }]);
  // It is never overwritten: the way back refuses, and says what to do.
  const before = await schemaOf(client);
  await expect(functions.down(here())).rejects.toThrow(
    /"user_profiles_0016_down_archive" already exists\nAn archive is never overwritten: look into it \(row-level security may hide its rows\), then rename or drop it\./,
  );
  expect(await schemaOf(client)).toEqual(before);
  await client.query('DROP TABLE user_profiles_0016_down_archive');
  await functions.down(here());
});

describe('what came back and has been spent does not come back once more, though the archive stays', () => {
  /** There, with values, and back; then something happens. There again, all values used up, and there and back once more. */
  const spentIsSpent = async ({ up, down }: Route, happens: string) => {
    const { client } = here();
    await loadState(client, '0015-described');
    await client.query(
      'ALTER TABLE user_profiles DROP backup_codes; UPDATE user_profiles SET mfa_enabled = true',
    );
    await up(here());
    await writeValues(client);
    await client.query(`UPDATE user_profiles SET mfa_backup_codes = '["CODE"]'`);
    await down(here());
    await client.query(happens);
    const said = await up(here());
    expect(await valuesOf(client, ['external_id', 'mfa_backup_codes'])).toContainEqual({
      user_id: 6,
      external_id: 'external-6',
      mfa_backup_codes: '["CODE"]',
    });
    await client.query(
      `UPDATE user_profiles SET ${columns.map((name) => `${name} = DEFAULT`).join(', ')}, mfa_backup_codes = NULL`,
    );
    const spent = await valuesOf(client, [...columns, 'mfa_backup_codes']);
    await down(here());
    await up(here());
    expect(await valuesOf(client, [...columns, 'mfa_backup_codes'])).toEqual(spent);
    return said.join('\n');
  };

  test.each([functions, scripts])('as it holds values of a person who is gone: $name', async (route) => {
    expect(await spentIsSpent(route, 'DELETE FROM user_profiles WHERE user_id = 5')).toMatch(
      /^DELETE FROM public\.user_profiles_0016_down_archive .* \(19 rows\)$/m,
    );
    const { rows } = await here().client.query('SELECT external_id FROM user_profiles_0016_down_archive');
    expect(rows).toEqual([{ external_id: 'external-5' }]);
  });

  test.each([functions, scripts])('as one of its columns has another type by now: $name', async (route) => {
    expect(
      await spentIsSpent(
        route,
        'ALTER TABLE user_profiles_0016_down_archive ALTER failed_login_attempts TYPE numeric',
      ),
    ).toMatch(/^UPDATE public\.user_profiles_0016_down_archive .* THEN NULL .* \(20 rows\)$/m);
    const { rows } = await here().client.query(
      'SELECT DISTINCT external_id, failed_login_attempts > 0 AS kept FROM user_profiles_0016_down_archive',
    );
    expect(rows).toEqual([{ external_id: null, kept: true }]);
  });

  test('old codes, from two names', async () => {
    const { client } = here();
    await loadState(client, 'both-names');
    const codes = (column: string) =>
      client.query(
        `SELECT user_id, ${column} AS codes FROM user_profiles WHERE user_id IN (4, 6) ORDER BY user_id`,
      );
    await client.query(
      `UPDATE user_profiles SET backup_codes = '["OLD"]', mfa_backup_codes = '["NEW"]' WHERE user_id IN (4, 6)`,
    );
    await functions.up(here());
    await client.query('DELETE FROM user_profiles WHERE user_id = 6');
    expect(await functions.down(here())).toContainEqual(
      expect.stringMatching(/^DELETE FROM public\.user_profiles_0016_up_archive .* \(1 rows\)$/),
    );
    expect((await codes('backup_codes')).rows).toEqual([{ user_id: 4, codes: ['OLD'] }]);
    // Replaced: what is under both names is the same again.
    await client.query(
      `UPDATE user_profiles SET mfa_backup_codes = '["NEWER"]', backup_codes = '["NEWER"]' WHERE user_id = 4`,
    );
    await client.query(`UPDATE user_profiles SET backup_codes = coalesce(mfa_backup_codes::jsonb, '[]')`);
    await functions.up(here());
    await functions.down(here());
    expect((await codes('backup_codes')).rows).toEqual([{ user_id: 4, codes: ['NEWER'] }]);
  });
});

test('an archive of codes is never overwritten either', async () => {
  const { client } = here();
  await loadState(client, 'both-names');
  await client.query(`UPDATE user_profiles SET mfa_backup_codes = '["new"]';
                      CREATE TABLE user_profiles_0016_up_archive ()`);
  const before = await schemaOf(client);
  await expect(functions.up(here())).rejects.toThrow(
    /"user_profiles_0016_up_archive" already exists\nAn archive is never overwritten: /,
  );
  expect(await schemaOf(client)).toEqual(before);
});

test('values of a type that somebody has widened come back into as wide a one, and no other', async () => {
  const { client, url } = here();
  await loadState(client, '0015');
  const add = { short: { type: 'varchar(9)' }, long: { type: 'varchar' } } as const;
  const change = tableChange({ id: '16', table: 'user_profiles', add });
  await migrate(url, 'up', change);
  await client.query(`ALTER TABLE user_profiles ALTER short TYPE varchar(99), ALTER long TYPE text;
                      UPDATE user_profiles SET short = repeat('s', 50), long = 'l'`);
  await migrate(url, 'down', change);
  await migrate(url, 'up', change);
  const { rows } = await client.query('SELECT DISTINCT short, long FROM user_profiles');
  expect(rows).toEqual([{ short: 's'.repeat(50), long: 'l' }]);
  const { rows: types } = await client.query(
    `SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute
     WHERE attrelid = 'user_profiles'::regclass AND attname IN ('short', 'long') ORDER BY attname`,
  );
  expect(types).toEqual([{ type: 'character varying' }, { type: 'character varying(99)' }]);
});

test('people who came between keep their defaults', async () => {
  const { client } = here();
  await loadState(client, '0015-described');
  await functions.up(here());
  await writeValues(client);
  await functions.down(here());
  await client.query(`INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
                      VALUES ('!', false, 'new', '', '', '', false, true, now());
                      INSERT INTO user_profiles (role, created_at, updated_at, user_id, mfa_enabled, backup_codes)
                      SELECT 'patient', now(), now(), id, false, '[]' FROM auth_user WHERE username = 'new'`);
  await functions.up(here());
  const { rows } = await client.query(`SELECT ${columns.join(', ')} FROM user_profiles WHERE user_id = 21`);
  expect(rows).toEqual([
    {
      ...Object.fromEntries(columns.map((column) => [column, null])),
      failed_login_attempts: 0,
      email_verified: false,
    },
  ]);
});

test('values that equal the defaults need no archive', async () => {
  const { client } = here();
  await loadState(client, '0015-described');
  await functions.up(here());
  expect((await functions.down(here())).join()).not.toContain('archive');
  expect((await schemaOf(client)).join()).not.toContain('archive');
});

test('a value is what differs from the default, also where its type knows no equality, or is another by now', async () => {
  const { client, url } = here();
  await loadState(client, '0015');
  const change = tableChange({
    id: '0016',
    table: 'user_profiles',
    add: {
      settings: { type: 'json', notNull: true, default: "'{}'" },
      level: { type: 'integer', notNull: true, default: '0' },
    },
  });
  await migrate(url, 'up', change);
  await client.query(`
    ALTER TABLE user_profiles ALTER level TYPE text;
    UPDATE user_profiles SET settings = '{"a": 1}' WHERE user_id = 7;
    UPDATE user_profiles SET level = '5' WHERE user_id = 8`);
  await migrate(url, 'down', change);
  const { rows } = await client.query(
    'SELECT settings::text, level FROM user_profiles_0016_down_archive ORDER BY id',
  );
  expect(rows).toEqual([
    { settings: '{"a": 1}', level: '0' },
    { settings: '{}', level: '5' },
  ]);
});
