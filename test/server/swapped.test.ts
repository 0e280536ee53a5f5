import { declaredShape, shapeOf } from '../support/application';
import { connect, databasePerTest, serverVersion } from '../support/database';
import { functions, scripts } from '../support/routes';

// What may happen while the first lock is waited for.
const here = databasePerTest('0015-described');

test.each([functions, scripts])(
  '$name: of two tables the one that has the name by then is changed',
  async ({ up }) => {
    const { client, admin, url } = here();
    await up(here());
    await client.query(
      `CREATE TABLE fresh (LIKE user_profiles INCLUDING ALL); ALTER TABLE fresh DROP external_id`,
    );
    const other = await connect(url);
    await other.query(
      'BEGIN; ALTER TABLE user_profiles RENAME TO profiles; ALTER TABLE fresh RENAME TO user_profiles',
    );
    const done = up(here());
    const waits =
      "SELECT FROM pg_locks WHERE mode = 'ShareUpdateExclusiveLock' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while ((await admin.query(waits)).rows.length === 0);
    await other.query('COMMIT');
    expect((await done).join()).toMatch('ADD COLUMN external_id');
    expect(await shapeOf(client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
    await other.end();
  },
);

const testWithPartitions = serverVersion >= 11 ? test : test.skip;
testWithPartitions.each([functions, scripts])(
  '$name: a partition that is dropped is passed over',
  async ({ up }) => {
    const { client, admin, url } = here();
    await client.query(`ALTER TABLE user_profiles RENAME TO whole;
    CREATE TABLE user_profiles (LIKE whole, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE kept PARTITION OF user_profiles FOR VALUES FROM (0) TO (100);
    CREATE TABLE oldest PARTITION OF user_profiles FOR VALUES FROM (100) TO (200)`);
    const other = await connect(url);
    await other.query('BEGIN; DROP TABLE oldest');
    const done = up(here());
    const waits =
      "SELECT FROM pg_locks WHERE mode = 'ShareUpdateExclusiveLock' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while ((await admin.query(waits)).rows.length === 0);
    await other.query('COMMIT');
    await done;
    expect(await shapeOf(client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
    await other.end();
  },
);
