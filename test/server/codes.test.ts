import { spendCodes } from '../support/application';
import { databasePerTest, loadState } from '../support/database';
import { functions, type Route, scripts } from '../support/routes';

// Codes are credentials: one that is spent or replaced never works again. The application accepts what is
// under the new name; NULL there means never copied, all spent, and MFA switched off alike.
const here = databasePerTest();

/** What the application would accept of a person. */
async function accepted(user: number): Promise<unknown> {
  const { rows } = await here().client.query(
    'SELECT mfa_backup_codes AS codes FROM user_profiles WHERE user_id = $1',
    [user],
  );
  const codes = rows[0].codes ?? [];
  return typeof codes === 'string' ? JSON.parse(codes) : codes;
}

const codes = ['A1B2-C3D4', 'E5F6-G7H8'];

describe.each<[string, Route]>([
  ['up() and down()', functions],
  ['script', scripts],
])('%s', (_, route) => {
  test('from one name: all spent, one spent, none spent', async () => {
    const { client } = here();
    await loadState(client, '0015');
    await route.up(here());
    await spendCodes(client, 2);
    await client.query(`UPDATE user_profiles SET mfa_backup_codes = '["E5F6-G7H8"]' WHERE user_id = 4`);
    for (let round = 0; round < 2; round++) {
      await route.down(here());
      await route.up(here());
      expect(await accepted(2)).toEqual([]);
      expect(await accepted(4)).toEqual(['E5F6-G7H8']);
      expect(await accepted(6)).toEqual(codes);
    }
  });

  test('from two names: codes that moved and were spent', async () => {
    const { client } = here();
    await loadState(client, 'both-names');
    await route.up(here());
    expect(await accepted(2)).toEqual(codes);
    await spendCodes(client, 2);
    await client.query(`UPDATE user_profiles SET mfa_backup_codes = '["E5F6-G7H8"]' WHERE user_id = 6`);
    for (let round = 0; round < 2; round++) {
      await route.down(here());
      expect(await accepted(2)).toEqual([]);
      expect(await old(2)).toEqual([]);
      expect(await old(6)).toEqual(['E5F6-G7H8']);
      await route.up(here());
      expect(await accepted(2)).toEqual([]);
      expect(await accepted(6)).toEqual(['E5F6-G7H8']);
      expect(await accepted(8)).toEqual(codes);
    }
  });

  test('from two names: an archived old value does not come back when its replacement is spent', async () => {
    const { client } = here();
    await loadState(client, 'both-names');
    await route.up(here());
    expect(await accepted(4)).toEqual(['NEW1-NEW1']);
    await spendCodes(client, 4);
    for (let round = 0; round < 2; round++) {
      await route.down(here());
      // The value of a column that nobody reads is back, as it was.
      expect(await old(4)).toEqual(codes);
      expect(await accepted(4)).toEqual([]);
      await route.up(here());
      expect(await accepted(4)).toEqual([]);
    }
  });

  test('from two names: MFA is off while the change is taken back, and what is spent stays spent', async () => {
    const { client } = here();
    await loadState(client, 'both-names');
    await route.up(here());
    await client.query(
      'UPDATE user_profiles SET mfa_enabled = false, mfa_backup_codes = NULL WHERE user_id = 4',
    );
    await route.down(here());
    await client.query('UPDATE user_profiles SET mfa_enabled = true WHERE user_id = 4');
    await route.up(here());
    expect(await accepted(4)).toEqual([]);
  });

  test('a trigger alters another value that comes back: what is back is no longer in the archive', async () => {
    const { client } = here();
    await loadState(client, '0015');
    await client.query('ALTER TABLE user_profiles DROP backup_codes');
    await route.up(here());
    await client.query(
      `UPDATE user_profiles SET mfa_backup_codes = '["ONCE"]', external_id = 'X' WHERE user_id = 2`,
    );
    await route.down(here());
    await client.query(`
      CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF to_jsonb(NEW) ? 'external_id' THEN NEW.external_id := NEW.external_id || '!'; END IF; RETURN NEW; END $$;
      CREATE TRIGGER other BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE other()`);
    await route.up(here());
    expect(await accepted(2)).toEqual(['ONCE']);
    const { rows } = await client.query(
      'SELECT external_id, mfa_backup_codes FROM user_profiles_0016_down_archive WHERE external_id IS NOT NULL OR mfa_backup_codes IS NOT NULL',
    );
    expect(rows).toEqual([{ external_id: 'X', mfa_backup_codes: null }]);
    await client.query('UPDATE user_profiles SET mfa_backup_codes = NULL, external_id = NULL');
    await route.down(here());
    await route.up(here());
    expect(await accepted(2)).toEqual([]);
  });

  test('MFA switched off: nothing moves, and nothing comes back when it is switched on again', async () => {
    const { client } = here();
    await loadState(client, 'both-names');
    await client.query(`UPDATE user_profiles SET backup_codes = '["OFF1-OFF1"]' WHERE user_id = 1`);
    await route.up(here());
    expect(await accepted(1)).toEqual([]);
    await client.query(
      `UPDATE user_profiles SET mfa_enabled = false, mfa_backup_codes = NULL WHERE user_id = 8`,
    );
    await route.down(here());
    await route.up(here());
    await client.query('UPDATE user_profiles SET mfa_enabled = true WHERE user_id IN (1, 8)');
    expect(await accepted(1)).toEqual([]);
    expect(await accepted(8)).toEqual([]);
  });
});

test.each([
  ['text', undefined, '[]'],
  ['varchar(2)', undefined, '[]'],
  ['varchar(1)', "'-'", '-'],
])(
  'codes kept as %s NOT NULL, default %s: whoever has none by then has %s',
  async (type, value, expected) => {
    const { client } = here();
    await loadState(client, '0015');
    await client.query(
      `ALTER TABLE user_profiles DROP backup_codes, ADD backup_codes ${type} NOT NULL DEFAULT ''`,
    );
    await client.query(
      `ALTER TABLE user_profiles ALTER backup_codes ${value ? `SET DEFAULT ${value}` : 'DROP DEFAULT'}`,
    );
    await functions.up(here());
    await spendCodes(client, 2);
    await functions.down(here());
    expect(await old(2)).toBe(expected);
    expect(await old(1)).toBe('');
  },
);

async function old(user: number): Promise<unknown> {
  const { rows } = await here().client.query('SELECT backup_codes FROM user_profiles WHERE user_id = $1', [
    user,
  ]);
  return rows[0].backup_codes;
}
