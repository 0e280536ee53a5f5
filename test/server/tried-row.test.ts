import { valuesOf } from '../support/application';
import { databasePerTest } from '../support/database';
import { functions, scripts } from '../support/routes';
import { doing, eachRow, fire, refusal } from '../support/triggers';

// The write that is tried: the same row on the new shape and on the old one, though rows move when they are written.
const here = databasePerTest('0015');

test.each([functions, scripts])(
  '$name: a trigger that refuses some rows is not refused because other rows have moved',
  async ({ up }) => {
    const { client } = here();
    // The codes of 1 and 2 move to the new name, and both rows to the end of the table: 3 is its first one then.
    await client.query(`
      ALTER TABLE user_profiles ADD mfa_backup_codes text;
      UPDATE user_profiles SET mfa_enabled = true, backup_codes = '["A"]' WHERE id = 1;
      UPDATE user_profiles SET phone = 'archived' WHERE id = 3;
      CLUSTER user_profiles USING user_profiles_pkey`);
    await client.query(
      doing(
        "IF OLD.phone = 'archived' THEN RAISE 'archived profiles are read-only'; END IF",
        fire('BEFORE UPDATE ON user_profiles FOR EACH ROW'),
      ),
    );
    expect(await up(here())).not.toContainEqual(expect.stringContaining('a write'));
    expect((await valuesOf(client, ['mfa_backup_codes']))[0]).toEqual({
      user_id: 1,
      mfa_backup_codes: '["A"]',
    });
  },
);

test.each([
  // An index serves this order and no other: any other one would sort the whole table behind the lock.
  [
    'several columns',
    'ALTER TABLE user_profiles ADD PRIMARY KEY (user_id, id)',
    ' ORDER BY user_id, id LIMIT 1',
  ],
  [
    'several tables',
    'ALTER TABLE user_profiles ADD PRIMARY KEY (id); CREATE TABLE former () INHERITS (user_profiles)',
    'FROM public.user_profiles LIMIT 1',
  ],
])('a key of %s: the first row by its index, or any', async (_, key, order) => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey; ${key}`);
  await client.query(doing('INSERT INTO audit VALUES (NEW.*)', eachRow));
  expect(await refusal(functions.up(here()))).toContain(order);
});
