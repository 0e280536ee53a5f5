import { declaredShape, shapeOf } from '../support/application';
import { schemaOf } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { functions } from '../support/routes';

// Somebody has added the new name beside the old one.
const here = databasePerTest('0015');

test('values move, or go to the archive', async () => {
  const { client } = here();
  await client.query(`
    ALTER TABLE user_profiles ADD mfa_backup_codes jsonb;
    UPDATE user_profiles SET mfa_backup_codes = '["NEW"]' WHERE user_id = 4;
    UPDATE user_profiles SET mfa_backup_codes = backup_codes WHERE user_id = 6;
    UPDATE user_profiles SET backup_codes = '["OFF"]' WHERE user_id = 5`);
  const before = await schemaOf(client);
  const said = await functions.up(here());
  // Ten have MFA; of two the new name has a value already.
  expect(said).toContainEqual(
    expect.stringMatching(/^UPDATE public\.user_profiles SET mfa_backup_codes = backup_codes.* \(8 rows\)$/),
  );
  expect(said).toContainEqual(
    expect.stringMatching(
      /^CREATE TABLE public\.user_profiles_0016_up_archive [\s\S]*INSERT INTO public\.user_profiles_0016_up_archive [\s\S]* \(2 rows\)$/,
    ),
  );
  expect(await shapeOf(client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
  const { rows } = await client.query(
    'SELECT id, backup_codes FROM user_profiles_0016_up_archive ORDER BY 1',
  );
  expect(rows).toEqual([
    { id: '4', backup_codes: ['A1B2-C3D4', 'E5F6-G7H8'] },
    { id: '5', backup_codes: ['OFF'] },
  ]);
  await functions.down(here());
  expect(await schemaOf(client)).toEqual(before);
});

test('of types that do not convert: a conflict', async () => {
  const { client } = here();
  await client.query('ALTER TABLE user_profiles ADD mfa_backup_codes varchar(20)');
  const before = await schemaOf(client);
  await expect(functions.up(here())).rejects.toThrow(
    'both backup_codes (jsonb) and mfa_backup_codes (character varying(20)) exist',
  );
  expect(await schemaOf(client)).toEqual(before);
});

test('without mfa_enabled, which tells what may move: a conflict', async () => {
  const { client } = here();
  await client.query('ALTER TABLE user_profiles ADD mfa_backup_codes jsonb, DROP mfa_enabled');
  const before = await schemaOf(client);
  await expect(functions.up(here())).rejects.toThrow('and mfa_enabled (boolean), which tells where');
  expect(await schemaOf(client)).toEqual(before);
});

test.each([
  ['text[]', 'text', 'text[]', 'text[]'],
  ['varchar(50)[]', 'text', 'varchar(50)[]', 'varchar(50)[]'],
  // Of these nothing says that a value is spent: it would come back.
  ['integer', 'text', 'text', 'text'],
  ['integer', 'integer', 'text', 'text'],
  ['codes', 'codes', 'text', 'text'],
])('%s beside %s: a conflict; what is said helps', async (from, to, ...converted) => {
  const { client } = here();
  await client.query(`CREATE DOMAIN codes AS jsonb; ALTER TABLE user_profiles DROP COLUMN backup_codes,
    ADD COLUMN backup_codes ${from}, ADD COLUMN mfa_backup_codes ${to}`);
  await expect(functions.up(here())).rejects.toThrow(
    'Convert both to text (an array: USING to_json(backup_codes)::text); or mfa_backup_codes to the type of backup_codes, where that is text, json or an array.',
  );
  for (const [i, name] of ['backup_codes', 'mfa_backup_codes'].entries())
    await client.query(
      `ALTER TABLE user_profiles ALTER ${name} TYPE ${converted[i]} USING ${name}::text::${converted[i]}`,
    );
  await functions.up(here());
});

test('an array beside text, converted as is said: the application can read what moves', async () => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles DROP backup_codes, ADD backup_codes text[], ADD mfa_backup_codes text;
    UPDATE user_profiles SET backup_codes = '{A1B2,C3D4}' WHERE user_id = 2`);
  const said = await functions.up(here()).catch(({ message }: Error) => message);
  const using = /USING \S+/.exec(String(said))?.[0].replace(/\);$/, '');
  await client.query(`ALTER TABLE user_profiles ALTER backup_codes TYPE text ${using}`);
  await functions.up(here());
  const { rows } = await client.query('SELECT mfa_backup_codes FROM user_profiles WHERE user_id = 2');
  expect(rows).toEqual([{ mfa_backup_codes: '["A1B2","C3D4"]' }]);
});

test('under a collation that takes A for a: an old value that differs so is archived', async () => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes text COLLATE "C";
    ALTER TABLE user_profiles ALTER backup_codes TYPE text COLLATE "POSIX";
    UPDATE user_profiles SET backup_codes = '["abcd"]', mfa_backup_codes = '["ABCD"]' WHERE user_id = 2`);
  if (serverVersion >= 12)
    await client.query(`CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      ALTER TABLE user_profiles ALTER backup_codes TYPE text COLLATE ci, ALTER mfa_backup_codes TYPE text COLLATE ci`);
  await functions.up(here());
  const { rows } = await client.query('SELECT backup_codes FROM user_profiles_0016_up_archive WHERE id = 2');
  expect(rows).toEqual([{ backup_codes: '["abcd"]' }]);
});

test('what moves is said to work again, and what is said clears it', async () => {
  const { client } = here();
  await client.query('ALTER TABLE user_profiles ADD mfa_backup_codes jsonb');
  const moved = (await functions.up(here())).find((line) => line.includes('These work again')) ?? '';
  expect(moved).toMatch(/\(10 rows\)$/);
  await client.query(/afterwards all: (.*) \*\//.exec(moved)?.[1] ?? '');
  const { rows } = await client.query("SELECT FROM user_profiles WHERE mfa_backup_codes <> '[]'");
  expect(rows).toEqual([]);
});
