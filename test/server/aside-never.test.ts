import { loadProfiles } from '../fire/profiles';
import { databasePerTest, freshDatabase } from '../support/database';
import { knexFor } from '../support/knex';
import { archive, change, holders, manyValues, people } from '../support/many-values';
import { migrate, migrateWith } from '../support/routes';
import { startTestServer, testCluster } from '../support/server';

// Many values come back and go at once, with no column put aside, where no batch may be committed.
const here = databasePerTest();
const { digest, inUse, takenBack } = manyValues(here);

const expectAtOnce = (said: readonly string[]) => {
  expect(said.filter((line) => /_aside|at a time/.test(line))).toEqual([]);
  expect(said).toContain(`user_profiles: give back the values of ${holders} rows from ${archive}`);
};

test("in Knex's transaction", async () => {
  const values = await takenBack();
  const knex = await knexFor(here().url);
  try {
    await knex.transaction(async (trx) => {
      await trx.raw('LOCK TABLE user_profiles');
      expectAtOnce((await migrateWith(trx as never, 'up', change)).slice(1));
    });
  } finally {
    await knex.destroy();
  }
  expect(await digest()).toBe(values);
});

test('under forced row-level security', async () => {
  const values = await takenBack();
  await here().client.query('ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
  expectAtOnce(await migrate(here().url, 'up', change));
  await here().client.query('ALTER TABLE user_profiles NO FORCE ROW LEVEL SECURITY');
  expect(await digest()).toBe(values);
});

test('where a subscriber may ask for columns of such names', async () => {
  const server = await startTestServer(
    testCluster({ wal_level: 'logical', max_replication_slots: '1', max_wal_senders: '1' }),
  );
  try {
    const { url, client, admin } = await freshDatabase(server.url);
    await loadProfiles(client, people);
    await admin.query("SELECT pg_create_logical_replication_slot('profiles', 'pgoutput')");
    await migrate(url, 'up', change);
    await client.query("UPDATE user_profiles SET token = 'x'");
    const down = await migrate(url, 'down', change);
    const up = await migrate(url, 'up', change);
    expect([...down, ...up].filter((line) => /_aside|at a time/.test(line))).toEqual([]);
    expect(up).toContain(`user_profiles: give back the values of ${people} rows from ${archive}`);
    await admin.query("SELECT pg_drop_replication_slot('profiles')");
  } finally {
    await server.remove();
  }
});

test('where the table has a rule, with which no statement in WITH may change rows', async () => {
  await here().client.query('CREATE TABLE noted (id bigint)');
  const values = await inUse();
  await here().client.query(
    'CREATE RULE note AS ON UPDATE TO user_profiles DO ALSO INSERT INTO noted VALUES (NEW.id)',
  );
  await migrate(here().url, 'down', change);
  expectAtOnce(await migrate(here().url, 'up', change));
  expect(await digest()).toBe(values);
});

test('where there are few', async () => {
  await takenBack();
  await here().client.query(`CREATE TABLE few AS SELECT * FROM ${archive} WHERE id <= 1000; DROP TABLE ${archive};
                               ALTER TABLE few RENAME TO ${archive}`);
  const said = await migrate(here().url, 'up', change);
  expect(said).toContain(`user_profiles: give back the values of 1000 rows from ${archive}`);
});
