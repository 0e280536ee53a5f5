import { spendCodes, valuesOf } from '../support/application';
import { databasePerTest, loadState } from '../support/database';
import { functions } from '../support/routes';

// The way back where both names were there: the old one gets what the archive holds, and otherwise the present codes.
const here = databasePerTest();

const codes = ['A1B2-C3D4', 'E5F6-G7H8'];

test.each([
  ['text that is no JSON', 'text', "'not json'", []],
  ['a list with escapes', 'text', `'["a\\\\b"]'`, []],
  ['a list of strings', 'text', `'["N1", "N2"]'`, ['N1', 'N2']],
  ['another JSON of the same type', 'jsonb', `'{"a": 1}'`, { a: 1 }],
])(
  '%s stays under the new name, and what can be cast goes to the old one',
  async (_, type, value, expected) => {
    const { client } = here();
    await loadState(client, '0015');
    await client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes ${type}`);
    await functions.up(here());
    await client.query(`UPDATE user_profiles SET mfa_backup_codes = ${value}::${type} WHERE user_id = 2`);
    await functions.down(here());
    expect(await old(2)).toEqual(expected);
    const { rows } = await client.query(
      `SELECT mfa_backup_codes = ${value}::${type} AS stays FROM user_profiles WHERE user_id = 2`,
    );
    expect(rows).toEqual([{ stays: true }]);
  },
);

test('what is too long for the old one stays under the new one', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await client.query(`
    ALTER TABLE user_profiles DROP backup_codes, ADD backup_codes varchar(4), ADD mfa_backup_codes text`);
  await functions.up(here());
  await client.query(`
    UPDATE user_profiles SET mfa_backup_codes = '["A"' WHERE user_id = 2;
    UPDATE user_profiles SET mfa_backup_codes = '["A"]' WHERE user_id = 4`);
  await functions.down(here());
  expect([await old(2), await old(4)]).toEqual(['["A"', null]);
  const { rows } = await client.query('SELECT mfa_backup_codes FROM user_profiles WHERE user_id = 4');
  expect(rows).toEqual([{ mfa_backup_codes: '["A"]' }]);
});

test.each([
  ['text[]', "'{OLD}'", "'{NEW}'"],
  ['varchar(1)', "'o'", "'n'"],
  ['text', "'old'", "'new'"],
  ['json', `'["OLD"]'`, `'["NEW"]'`],
])('names of type %s: what replaced an archived value and is spent stays spent', async (type, ...values) => {
  const { client } = here();
  await loadState(client, '0015');
  const [oldValue, newValue] = values;
  await client.query(`ALTER TABLE user_profiles DROP backup_codes, ADD backup_codes ${type}, ADD mfa_backup_codes ${type};
    UPDATE user_profiles SET backup_codes = ${oldValue}, mfa_backup_codes = ${newValue} WHERE user_id IN (4, 6)`);
  const before = await valuesOf(client, ['backup_codes']);
  await functions.up(here());
  await spendCodes(client, 4);
  await functions.down(here());
  expect(await valuesOf(client, ['backup_codes'])).toEqual(before);
  await functions.up(here());
  const { rows } = await client.query(
    `SELECT user_id FROM user_profiles WHERE mfa_backup_codes::text = ${oldValue}::${type}::text`,
  );
  expect(rows).toEqual([]);
});

test('what tells who has codes switched on is gone', async () => {
  const { client } = here();
  await loadState(client, 'both-names');
  await functions.up(here());
  await client.query('ALTER TABLE user_profiles DROP mfa_enabled');
  await functions.down(here());
  expect(await old(4)).toEqual(codes);
});

test('nobody gets codes from a default', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await client.query(
    `ALTER TABLE user_profiles ADD mfa_backup_codes text, ALTER backup_codes SET DEFAULT '["D1"]'`,
  );
  await functions.up(here());
  await spendCodes(client, 2);
  await functions.down(here());
  expect(await old(2)).toEqual([]);
  expect(await old(1)).toEqual([]);
});

test.each([
  [
    'a trigger that lets no row be updated',
    `CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE TRIGGER no BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE no()`,
  ],
  ['a person who is gone', 'DELETE FROM user_profiles WHERE user_id = 4'],
])('archived values that are not back stay in the archive: %s', async (_, prepared) => {
  const { client } = here();
  await loadState(client, 'both-names');
  await functions.up(here());
  await client.query(prepared);
  expect(await functions.down(here())).toContainEqual(
    expect.stringMatching(
      /^user_profiles: public\.user_profiles_0016_up_archive stays: it holds values that are not back/,
    ),
  );
  expect((await client.query('SELECT backup_codes FROM user_profiles_0016_up_archive')).rows).toEqual([
    { backup_codes: codes },
  ]);
});

async function old(user: number): Promise<unknown> {
  const { rows } = await here().client.query('SELECT backup_codes FROM user_profiles WHERE user_id = $1', [
    user,
  ]);
  return rows[0].backup_codes;
}
