import { tableChange } from '../../src/table-change';
import { expectRefusal, schemaOf } from '../support/catalog';
import { databasePerTest, freshDatabase, loadState, serverVersion } from '../support/database';
import { functions, migrate } from '../support/routes';
import { startTestServer, testCluster } from '../support/server';

// What else names a column that changes: what would break is a conflict, the rest a warning.
const here = databasePerTest('0015');

const trigger = (body: string) => `
  CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ ${body} $$;
  CREATE TRIGGER touched BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE touched()`;

const warnings = (said: readonly string[]) =>
  said.flatMap((line) =>
    line.startsWith('WARNING: ') ? [line.slice('WARNING: user_profiles: '.length)] : [],
  );

const refused = (work: () => Promise<unknown>, words: RegExp) => expectRefusal(here().client, work, words);

test('a trigger that is switched off reads nothing', async () => {
  const { client } = here();
  await client.query(
    `${trigger('BEGIN PERFORM NEW.backup_codes; RETURN NEW; END')}; ALTER TABLE user_profiles DISABLE TRIGGER touched`,
  );
  await migrate(here().url, 'up');
});

test.each([
  [
    9,
    'view',
    'CREATE VIEW pending AS SELECT email_verification_token FROM user_profiles',
    /view public\.pending: SELECT /,
  ],
  [
    9,
    'materialized view',
    'CREATE MATERIALIZED VIEW pending AS SELECT email_verification_token FROM user_profiles',
    /materialized view public\.pending: SELECT /,
  ],
  [
    9,
    'rule',
    'CREATE RULE kept AS ON UPDATE TO user_profiles WHERE NEW.email_verification_token IS NULL DO INSTEAD NOTHING',
    /rule kept on .*: CREATE RULE kept AS/,
  ],
  [
    9,
    'policy',
    'CREATE POLICY own ON user_profiles USING (email_verification_token IS NULL)',
    /policy own on /,
  ],
  [
    9,
    'trigger of a column',
    `${trigger('BEGIN RETURN NEW; END')}; CREATE TRIGGER of_column BEFORE UPDATE OF email_verification_token ON user_profiles FOR EACH ROW EXECUTE PROCEDURE touched()`,
    /trigger of_column on .*: CREATE TRIGGER of_column/,
  ],
  [
    9,
    'trigger with a condition',
    `${trigger('BEGIN RETURN NEW; END')}; CREATE TRIGGER with_when BEFORE UPDATE ON user_profiles FOR EACH ROW WHEN (NEW.email_verification_token IS NULL) EXECUTE PROCEDURE touched()`,
    /trigger with_when on /,
  ],
  [
    12,
    'generated column',
    'ALTER TABLE user_profiles ADD pending boolean GENERATED ALWAYS AS (email_verification_token IS NOT NULL) STORED',
    /used by .*column pending of table /,
  ],
  [
    14,
    'function body in standard SQL',
    'CREATE FUNCTION pending() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(email_verification_token) FROM user_profiles; END',
    /function public\.pending\(\)/,
  ],
])('from %i: a %s on a column that must be widened is a conflict', async (since, _name, sql, words) => {
  if (serverVersion < since) return;
  await here().client.query(sql);
  await refused(() => functions.up(here()), words);
  await refused(
    () => functions.up(here()),
    /email_verification_token cannot change its type.*\nDrop what uses it, run this again, and create it anew\./s,
  );
});

test('from 15: a column list of a publication is a conflict', async () => {
  if (serverVersion < 15) return;
  await here().admin.query('CREATE PUBLICATION part FOR TABLE user_profiles (id, email_verification_token)');
  await refused(() => functions.up(here()), /publication of table .*user_profiles in publication part/);
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
  expect(warnings(await functions.up(here()))).toEqual([]);
  expect((await client.query('SELECT backup_codes FROM codes')).rows).toHaveLength(20);
  await functions.down(here());
  expect(await schemaOf(client)).toEqual(before);
  await admin.query(`DROP OWNED BY ${reader}; DROP ROLE ${reader}`);
});

test.each([
  ["IF NEW.backup_codes = '[]' THEN NEW.role := NEW.role; END IF;"],
  ['IF old . "backup_codes" IS NULL THEN NULL; END IF;'],
])('a trigger function that takes the column out of the row is a conflict: %s', async (body) => {
  await here().client.query(trigger(`BEGIN\n  ${body}\n  RETURN NEW; END`));
  await refused(
    () => functions.up(here()),
    /the trigger function public\.touched\(\) reads backup_codes from the row, so that every write would fail: IF .*\n.*MIGRATION_IGNORE_DEPENDENTS=1/,
  );
});

test('... on which one can go on knowingly, and every write fails, as was said', async () => {
  const { client, url } = here();
  await client.query(trigger('BEGIN PERFORM NEW.backup_codes; RETURN NEW; END'));
  process.env['MIGRATION_IGNORE_DEPENDENTS'] = '1';
  try {
    expect(warnings(await migrate(url, 'up'))).toEqual([
      expect.stringMatching(/reads backup_codes from the row.*\. Ignored, as you wish\.$/),
    ]);
  } finally {
    delete process.env['MIGRATION_IGNORE_DEPENDENTS'];
  }
  await expect(client.query("UPDATE user_profiles SET role = 'nurse'")).rejects.toMatchObject({
    code: '42703',
  });
});

test.each([
  [
    'a trigger function by another way',
    trigger("BEGIN PERFORM to_jsonb(NEW) -> 'backup_codes'; RETURN NEW; END"),
    'the trigger function public.touched() has backup_codes in its text, and may find nothing under that name from now on: BEGIN PERFORM',
  ],
  [
    'a function in SQL',
    'CREATE FUNCTION spent() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM user_profiles WHERE backup_codes IS NULL $$',
    'the function public.spent() has backup_codes in its text, and may fail when it is called: SELECT count(*)',
  ],
])('a warning: %s', async (_name, sql, words) => {
  await here().client.query(sql);
  expect(warnings(await functions.up(here()))).toEqual([expect.stringContaining(words)]);
});

test('a trigger of another table, and a longer name, are none of our business', async () => {
  await here().client.query(`
    CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM NEW.old_backup_codes_2; RETURN NEW; END $$;
    CREATE TRIGGER other BEFORE UPDATE ON auth_user FOR EACH ROW EXECUTE PROCEDURE other()`);
  expect(warnings(await functions.up(here()))).toEqual([]);
});

test("nor are the server's own functions, and symbols that are called like the column", async () => {
  const { client, admin, url } = here();
  await client.query('ALTER TABLE user_profiles ADD drandom text');
  await admin.query(`
    CREATE FUNCTION pg_catalog.own() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM drandom; END';
    CREATE FUNCTION public.chance() RETURNS float8 LANGUAGE internal AS 'drandom'`);
  const rename = { from: 'drandom', to: 'chance', type: 'text', moveWhere: 'mfa_enabled', empty: '' };
  const change = tableChange({ id: '17', table: 'user_profiles', add: {}, rename });
  expect(warnings(await migrate(url, 'up', change))).toEqual([]);
});

test('down: what would stop it is a conflict, what goes with a column is said', async () => {
  const { client } = here();
  await functions.up(here());
  await client.query(`
    CREATE INDEX by_external_id ON user_profiles (external_id);
    ALTER TABLE user_profiles ADD CONSTRAINT few CHECK (failed_login_attempts < 1000);
    CREATE VIEW locked AS SELECT id FROM user_profiles WHERE account_locked_until > now()`);
  await refused(
    () => functions.down(here()),
    /account_locked_until cannot be dropped: it is used by view public\.locked: SELECT (user_profiles\.)?id/,
  );
  await client.query('DROP VIEW locked');
  expect(warnings(await functions.down(here()))).toEqual([
    expect.stringMatching(/^with failed_login_attempts goes constraint few on table .*: CHECK /),
    expect.stringMatching(
      /^with external_id goes index public\.by_external_id: CREATE INDEX .*\. The way back does not make it anew\.$/,
    ),
  ]);
});

test('publications, slots and subscriptions are named with the order in which to migrate', async () => {
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
    expect(warnings(await migrate(publisher.url, 'up'))).toEqual([
      expect.stringMatching(
        /^publication of table .*user_profiles in publication profiles\. A subscriber .* migrate this server first/,
      ),
      'the logical replication slot profiles decodes this database. If the table is published to it: migrate this server first, then the subscribers at once. FOR ALL TABLES publishes the tables that are kept beside it, too: they need them.',
    ]);
    expect(warnings(await migrate(subscriber.url, 'up'))).toEqual([
      'the table is fed by a subscription. Migrate the server that publishes first, then this one at once.',
    ]);
    // With no column to add or to drop nobody has to be migrated first.
    expect(warnings(await migrate(publisher.url, 'up'))).toEqual([]);
    expect(warnings(await migrate(subscriber.url, 'up'))).toEqual([]);
    await publisher.admin.query("SELECT pg_drop_replication_slot('profiles')");
    await subscriber.admin.query('DROP SUBSCRIPTION profiles');
  } finally {
    await publisher.close();
    await subscriber.close();
    await server.remove();
  }
});
