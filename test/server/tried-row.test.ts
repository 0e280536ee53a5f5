import { valuesOf } from '../support/application';
import { databasePerTest, serverVersion } from '../support/database';
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

test('a row that a CHECK refuses, as it was not valid when it came, tells nothing: another one is tried', async () => {
  const { client } = here();
  await client.query(`UPDATE user_profiles SET phone = CASE WHEN id < 20 THEN '+1' END;
    ALTER TABLE user_profiles ADD CONSTRAINT known CHECK (phone IS NOT NULL) NOT VALID;
    ${doing('INSERT INTO audit VALUES (NEW.*)', eachRow)}`);
  expect(await refusal(functions.up(here()))).toContain('a write that works would fail from then on');
});

test('rows of two partitions may stand in the same place: only one is tried', async () => {
  if (serverVersion < 11) return;
  const { client } = here();
  // The fill moves row 10 to where the archived one stands in the other partition.
  await client.query(`DROP TABLE user_profiles CASCADE;
    CREATE TABLE user_profiles (id int PRIMARY KEY, phone text, email_verified boolean, backup_codes text) PARTITION BY RANGE (id);
    CREATE TABLE young PARTITION OF user_profiles FOR VALUES FROM (0) TO (9);
    CREATE TABLE old PARTITION OF user_profiles FOR VALUES FROM (9) TO (99);
    INSERT INTO user_profiles (id, phone, email_verified) VALUES (1, '1', true), (2, 'archived', true), (10, '10', NULL);
    ${doing(
      "IF OLD.phone = 'archived' THEN RAISE 'archived profiles are read-only'; END IF",
      fire('AFTER UPDATE ON user_profiles FOR EACH ROW'),
    )}`);
  expect(await functions.up(here())).not.toContainEqual(expect.stringContaining('a write'));
});

test.each([
  // An index serves this order and no other: any other one would sort the whole table behind the lock.
  [
    'several columns',
    'ALTER TABLE user_profiles ADD PRIMARY KEY (user_id, id)',
    ' ORDER BY user_id DESC, id DESC LIMIT 1',
  ],
  [
    'several tables',
    'ALTER TABLE user_profiles ADD PRIMARY KEY (id); CREATE TABLE former () INHERITS (user_profiles)',
    'FROM public.user_profiles LIMIT 1',
  ],
])('a key of %s: the newest row by its index, or any', async (_, key, order) => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey; ${key}`);
  await client.query(doing('INSERT INTO audit VALUES (NEW.*)', eachRow));
  expect(await refusal(functions.up(here()))).toContain(order);
});
