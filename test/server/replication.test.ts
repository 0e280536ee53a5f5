import { chmodSync, existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { plan } from '../../migrations/0016_add_security_fields';
import { freshDatabase, loadState, serverVersion, type TestDatabase } from '../support/database';
import { knexFor } from '../support/knex';
import { migrate } from '../support/routes';
import { startTestServer, testCluster } from '../support/server';

// Whom else the change concerns: plan names them.

/** What plan warns of, without what is said of old servers (versions.test.ts). */
async function warned(url: string, direction?: 'up' | 'down'): Promise<readonly string[]> {
  const knex = await knexFor(url);
  try {
    return (await plan(knex, direction)).warnings.filter((line) => !line.includes(' rewrites the table '));
  } finally {
    await knex.destroy();
  }
}

test('plan names publications, slots and subscriptions, with the order in which to migrate', async () => {
  if (serverVersion < 10) return;
  const server = await startTestServer(
    testCluster({ wal_level: 'logical', max_replication_slots: '4', max_wal_senders: '4' }),
  );
  const [publisher, subscriber] = [await freshDatabase(server.url), await freshDatabase(server.url)];
  try {
    await loadState(publisher.client, '0015');
    await loadState(subscriber.client, '0015');
    await publisher.admin.query('CREATE PUBLICATION profiles FOR TABLE user_profiles');
    await publisher.admin.query("SELECT pg_create_logical_replication_slot('profiles', 'pgoutput')");
    const { hostname: host, port, username: user, password } = new URL(publisher.adminUrl);
    await subscriber.admin.query(
      `CREATE SUBSCRIPTION profiles CONNECTION 'host=${host} port=${port} user=${user} password=${password} dbname=${publisher.name}'
       PUBLICATION profiles WITH (create_slot = false, enabled = false, slot_name = NONE)`,
    );
    expect(await warned(publisher.url)).toEqual([
      expect.stringMatching(
        /^publication of table .*user_profiles in publication profiles\. Migrate the server that publishes first/,
      ),
      expect.stringMatching(/^the logical replication slot profiles decodes this database\. Migrate /),
    ]);
    expect(await warned(subscriber.url)).toEqual([
      expect.stringMatching(
        /^the table is fed by a subscription\. Migrate the server that publishes first, then /,
      ),
    ]);
    for (const { url } of [publisher, subscriber]) {
      await migrate(url, 'up');
      // With no column to add or to drop nobody has to be migrated first.
      expect(await warned(url)).toEqual([]);
    }
    await publisher.admin.query("SELECT pg_drop_replication_slot('profiles')");
  } finally {
    // A database with a subscription cannot be dropped.
    await subscriber.admin.query('DROP SUBSCRIPTION IF EXISTS profiles');
    await publisher.close();
    await subscriber.close();
    await server.remove();
  }
});

describe('pglogical lists columns by name', () => {
  /** On a database with a replication set `codes`, which lists backup_codes. */
  async function expectMended({ admin, url, owner }: TestDatabase) {
    const warnings = async (way?: 'up' | 'down') =>
      (await warned(url, way)).filter((line) => !line.startsWith('the logical replication slot'));
    expect(await warnings()).toEqual([
      'pglogical is here, and this role may not see whether a replication set lists column backup_codes',
    ]);
    await admin.query(
      `GRANT USAGE ON SCHEMA pglogical TO ${owner}; GRANT SELECT ON ALL TABLES IN SCHEMA pglogical TO ${owner}`,
    );
    for (const [way, from, to] of [
      ['up', 'backup_codes', 'mfa_backup_codes'],
      ['down', 'mfa_backup_codes', 'backup_codes'],
    ] as const) {
      const found = await warnings(way);
      expect(found).toEqual([
        expect.stringMatching(
          `^column ${from} leaves the stream of pglogical's replication set codes, and no error says so\\. Right after`,
        ),
      ]);
      await migrate(url, way);
      await admin.query(found.join().replace(/^.*Right after the change: /, ''));
      const { rows } = await admin.query(
        'SELECT set_att_list AS list FROM pglogical.replication_set_table ORDER BY 1',
      );
      expect(rows).toEqual([{ list: ['id', to] }, { list: null }]);
      expect(await warnings(way)).toEqual([]);
    }
  }

  test('its tables, as 2.4.2 makes them', async () => {
    const database = await freshDatabase();
    await loadState(database.client, '0015');
    await database.admin.query(`
      CREATE SCHEMA pglogical;
      CREATE TABLE pglogical.replication_set (set_id oid PRIMARY KEY, set_nodeid oid NOT NULL, set_name name NOT NULL);
      CREATE TABLE pglogical.replication_set_table (set_id oid, set_reloid regclass, set_att_list text[],
        set_row_filter pg_node_tree, PRIMARY KEY (set_id, set_reloid));
      INSERT INTO pglogical.replication_set VALUES (1, 1, 'default'), (2, 1, 'codes');
      INSERT INTO pglogical.replication_set_table VALUES (1, 'user_profiles', NULL), (2, 'user_profiles', '{id,backup_codes}')`);
    await expectMended(database);
    await database.close();
  });

  // Debian's package postgresql-15-pglogical.
  const native = '/usr/lib/postgresql/15';
  const testWithPglogical = existsSync(`${native}/lib/pglogical.so`) ? test : test.skip;

  testWithPglogical('the extension itself', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pglogical-'));
    chmodSync(folder, 0o755);
    writeFileSync(join(folder, 'package.json'), '{ "version": "15" }', { mode: 0o644 });
    symlinkSync(native, join(folder, 'native'));
    const settings = { wal_level: 'logical', shared_preload_libraries: 'pglogical' };
    const server = await startTestServer(testCluster(settings, join(folder, 'native')));
    const database = await freshDatabase(server.url);
    try {
      await loadState(database.client, '0015');
      await database.admin.query(`
        CREATE EXTENSION pglogical;
        SELECT pglogical.create_node('here', 'dbname=none');
        SELECT pglogical.create_replication_set('codes');
        SELECT pglogical.replication_set_add_table('default', 'user_profiles');
        SELECT pglogical.replication_set_add_table('codes', 'user_profiles', false, '{id,backup_codes}', 'id > 0')`);
      await expectMended(database);
    } finally {
      await server.remove();
      rmSync(folder, { recursive: true });
    }
  });
});
