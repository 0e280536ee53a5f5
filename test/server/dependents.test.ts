import { plan } from '../../migrations/0016_add_security_fields';
import { tableChange } from '../../src/table-change';
import { expectRefusal, schemaOf } from '../support/catalog';
import { databasePerTest, freshDatabase, loadState, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, migrate } from '../support/routes';
import { startTestServer, testCluster } from '../support/server';

// What else names a column that changes: what would stop the change is told in the server's own words, with what to do.
const here = databasePerTest('0015');

const trigger = `
  CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
  CREATE TRIGGER touched BEFORE UPDATE`;

/** What plan warns of, without what is said of old servers (versions.test.ts). */
async function warned(url: string, change: { plan: typeof plan } = { plan }): Promise<readonly string[]> {
  const knex = await knexFor(url);
  try {
    return (await change.plan(knex)).warnings.filter((line) => !line.startsWith('before PostgreSQL 11'));
  } finally {
    await knex.destroy();
  }
}

test.each([
  [
    9,
    'a view',
    'CREATE VIEW pending AS SELECT email_verification_token FROM user_profiles',
    /used by a view or rule\nrule _RETURN on view pending depends on column/,
    'DROP VIEW pending',
  ],
  [
    9,
    'a materialized view',
    'CREATE MATERIALIZED VIEW pending AS SELECT email_verification_token FROM user_profiles',
    /used by a view or rule\nrule _RETURN on materialized view pending depends on column/,
    'DROP MATERIALIZED VIEW pending',
  ],
  [
    9,
    'a rule',
    'CREATE RULE kept AS ON UPDATE TO user_profiles WHERE NEW.email_verification_token IS NULL DO INSTEAD NOTHING',
    /used by a view or rule\nrule kept on .* depends on column/,
    'DROP RULE kept ON user_profiles',
  ],
  [
    9,
    'a policy',
    'CREATE POLICY own ON user_profiles USING (email_verification_token IS NULL)',
    /used in a policy definition\npolicy own on .* depends on column/,
    'DROP POLICY own ON user_profiles',
  ],
  [
    9,
    'a trigger of the column',
    `${trigger} OF email_verification_token ON user_profiles FOR EACH ROW EXECUTE PROCEDURE touched()`,
    /used in a trigger definition\ntrigger touched on .* depends on column/,
    'DROP FUNCTION touched() CASCADE',
  ],
  [
    9,
    'a trigger with a condition',
    `${trigger} ON user_profiles FOR EACH ROW WHEN (NEW.email_verification_token IS NULL) EXECUTE PROCEDURE touched()`,
    /used in a trigger definition\ntrigger touched on .* depends on column/,
    'DROP FUNCTION touched() CASCADE',
  ],
  [
    12,
    'a generated column',
    'ALTER TABLE user_profiles ADD pending boolean GENERATED ALWAYS AS (email_verification_token IS NOT NULL) STORED',
    /used by a generated column\nColumn "email_verification_token" is used by generated column "pending"/,
    'ALTER TABLE user_profiles DROP pending',
  ],
  [
    14,
    'a function body in standard SQL',
    'CREATE FUNCTION pending() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(email_verification_token) FROM user_profiles; END',
    /used by a function or procedure\nfunction pending\(\) depends on column/,
    'DROP FUNCTION pending()',
  ],
])(
  'from %i: %s of a column that must be widened: refused, and what is said helps',
  async (since, _name, create, words, drop) => {
    if (serverVersion < since) return;
    const { client } = here();
    await client.query(create);
    const up = () => functions.up(here());
    await expectRefusal(client, up, /^user_profiles is left as it was: cannot alter type of a column used /);
    await expectRefusal(client, up, words);
    await expectRefusal(
      client,
      up,
      /\nDrop what uses .* create it anew.*The statement was: ALTER TABLE public\.user_profiles\n/,
    );
    await client.query(drop);
    await up();
    await client.query(create);
  },
);

test('from 15: a column list of a publication: refused, and what is said helps', async () => {
  if (serverVersion < 15) return;
  const { client, admin } = here();
  const create = 'CREATE PUBLICATION part FOR TABLE user_profiles (id, email_verification_token)';
  await admin.query(create);
  await expectRefusal(
    client,
    () => functions.up(here()),
    /^user_profiles is left as it was: cannot alter .*publication.*\n.*publication part.*\nDrop what uses .* create it anew/,
  );
  await admin.query('DROP PUBLICATION part');
  await functions.up(here());
  await admin.query(create);
});

test('an index, a CHECK, statistics, a column grant and a default survive', async () => {
  const { client, admin, name } = here();
  const reader = `${name}_reader`;
  await admin.query(`CREATE ROLE ${reader}`);
  await client.query(`
    CREATE INDEX ON user_profiles (email_verification_token);
    CREATE INDEX ON user_profiles ((backup_codes -> 0));
    ALTER TABLE user_profiles ADD CHECK (jsonb_typeof(backup_codes) = 'array'), ADD CHECK (email_verification_token <> '');
    CREATE VIEW codes AS SELECT backup_codes FROM user_profiles;
    GRANT SELECT (backup_codes, email_verification_token) ON user_profiles TO ${reader}`);
  const before = await schemaOf(client);
  expect(await functions.up(here())).not.toContainEqual(expect.stringContaining('WARNING'));
  expect((await client.query('SELECT backup_codes FROM codes')).rows).toHaveLength(20);
  await functions.down(here());
  expect(await schemaOf(client)).toEqual(before);
  await admin.query(`DROP OWNED BY ${reader}; DROP ROLE ${reader}`);
});

test('plan warns of a function that reads the column, and not of one that has both names, or a longer one', async () => {
  const { client, url } = here();
  const counts = (name: string, condition: string) =>
    client.query(`CREATE FUNCTION ${name}() RETURNS bigint LANGUAGE plpgsql AS $$
      BEGIN RETURN (SELECT count(*) FROM user_profiles WHERE ${condition}); END $$`);
  await counts('spent', 'backup_codes IS NULL');
  await counts('adapted', 'mfa_backup_codes IS NULL OR backup_codes IS NULL');
  await counts('other', 'old_backup_codes_2 IS NULL');
  expect(await warned(url)).toEqual([
    expect.stringMatching(/^function (public\.)?spent\(\) has backup_codes in its text/),
  ]);
  expect(await functions.up(here())).not.toContainEqual(expect.stringContaining('WARNING'));
});

test("... nor of the server's own functions, and symbols that are called like the column", async () => {
  const { client, admin, url } = here();
  await client.query('ALTER TABLE user_profiles ADD drandom text');
  await admin.query(`
    CREATE FUNCTION pg_catalog.own() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM drandom; END';
    CREATE FUNCTION public.chance() RETURNS float8 LANGUAGE internal AS 'drandom'`);
  const rename = { from: 'drandom', to: 'chance', type: 'text', moveWhere: 'mfa_enabled', empty: '' };
  const change = tableChange({ id: '17', table: 'user_profiles', add: {}, rename });
  expect(await warned(url, change)).toEqual([]);
  expect(await migrate(url, 'up', change)).not.toContainEqual(expect.stringContaining('WARNING'));
});

test('down: what would stop it is refused, with what helps; indexes and constraints of a column go with it', async () => {
  const { client } = here();
  await functions.up(here());
  const create = 'CREATE VIEW locked AS SELECT id FROM user_profiles WHERE account_locked_until > now()';
  await client.query(`
    CREATE INDEX by_external_id ON user_profiles (external_id);
    ALTER TABLE user_profiles ADD CONSTRAINT few CHECK (failed_login_attempts < 1000);
    ${create}`);
  const down = () => functions.down(here());
  await expectRefusal(
    client,
    down,
    /^user_profiles is left as it was: cannot drop .*column account_locked_until .*because other objects depend on it\nview locked depends on /,
  );
  await expectRefusal(client, down, /\nDrop what uses .* create it anew.*The statement was: ALTER TABLE /);
  await client.query('DROP VIEW locked');
  await down();
});

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
        /^publication of table .*user_profiles in publication profiles\. A subscriber .* migrate this server first/,
      ),
      'the logical replication slot profiles decodes this database. If the table is published to it: migrate this server first, then the subscribers at once. FOR ALL TABLES publishes the tables that are kept beside it, too: they need them.',
    ]);
    expect(await warned(subscriber.url)).toEqual([
      'the table is fed by a subscription. Migrate the server that publishes first, then this one at once.',
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
