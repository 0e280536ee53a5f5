import { schemaOf } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { functions, scripts } from '../support/routes';

// From 18 on NOT NULL may be NOT VALID: no new NULL, and those of before stay.
const here = databasePerTest();
const from18 =
  serverVersion >= 18 ? describe.each([functions, scripts]) : describe.skip.each([functions, scripts]);

from18('$name: it is there again after the way back', ({ up, down }) => {
  test.each([
    ['both names, and a value that is archived', '', "mfa_backup_codes text DEFAULT 'b',", ''],
    [
      'a partition has the NULL',
      'PARTITION BY RANGE (id)',
      '',
      'PARTITION OF user_profiles FOR VALUES FROM (0) TO (9)',
    ],
    ['a child has the NULL', '', '', '() INHERITS (user_profiles)'],
  ])('%s', async (_, partitioned, column, below) => {
    const { client } = here();
    await client.query(`CREATE TABLE user_profiles (id int PRIMARY KEY, mfa_enabled boolean, ${column}
        external_id varchar(255), backup_codes text) ${partitioned};
      ${below && `CREATE TABLE below ${below};`}
      INSERT INTO ${below ? 'below' : 'user_profiles'} (id, mfa_enabled, backup_codes) VALUES (1, true, '["A1"]');
      ALTER TABLE user_profiles ADD CONSTRAINT known NOT NULL external_id NOT VALID`);
    const before = await schemaOf(client);
    await up(here());
    await down(here());
    expect(await schemaOf(client)).toEqual(before);
    const { rows } = await client.query('SELECT backup_codes, external_id FROM user_profiles');
    expect(rows).toEqual([{ backup_codes: '["A1"]', external_id: null }]);
  });
});
