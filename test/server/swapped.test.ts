import { declaredShape, shapeOf } from '../support/application';
import { connect, databasePerTest } from '../support/database';
import { functions, scripts } from '../support/routes';

// Another table takes the name while the first lock is waited for.
const here = databasePerTest('0015-described');

test.each([functions, scripts])('$name: the one that has the name by then is changed', async ({ up }) => {
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
  const waits = "SELECT FROM pg_locks WHERE mode = 'ShareUpdateExclusiveLock' AND NOT granted";
  while ((await admin.query(waits)).rows.length === 0);
  await other.query('COMMIT');
  expect((await done).join()).toMatch('ADD COLUMN external_id');
  expect(await shapeOf(client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
  await other.end();
});
