import type { Knex } from 'knex';
import { plan, verify } from '../../migrations/0016_add_security_fields';
import { type TableChange, tableChange } from '../../src/table-change';
import { loadProfiles } from '../fire/profiles';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, migrateWith } from '../support/routes';

// What plan says beyond the program's own words.
const here = databasePerTest('0015');
let knex: Knex;
beforeEach(async () => {
  knex = await knexFor(here().url);
});
afterEach(() => knex.destroy());

/** Without rewrites (versions.test.ts). */
const warnings = async (direction: 'up' | 'down' = 'up', change: Pick<TableChange, 'plan'> = { plan }) =>
  (await change.plan(knex, direction)).warnings.filter((line) => !line.includes(' rewrites the table '));

test('nothing to warn of; that columns run out only where they do', async () => {
  expect(await warnings()).toEqual([]);
  // A dropped column keeps its number.
  await here().client.query(`DO $$ BEGIN FOR n IN 1 .. 1500 LOOP
    ALTER TABLE user_profiles ADD COLUMN x text; ALTER TABLE user_profiles DROP COLUMN x; END LOOP; END $$`);
  expect(await warnings()).toEqual([expect.stringMatching(/^only 86 more columns are possible/)]);
});

describe('columns elsewhere of the row type of the table', () => {
  test.each([
    ['a table', 'CREATE TABLE changes (old user_profiles)', 'column old of public.changes'],
    ['its array', 'CREATE TABLE changes (olds user_profiles[])', 'column olds of public.changes'],
    [
      'a domain of its array',
      'CREATE DOMAIN many AS user_profiles[]; CREATE TABLE changes (olds many)',
      'column olds of public.changes',
    ],
    [
      'a typed table',
      'CREATE TYPE change AS (old user_profiles); CREATE TABLE changes OF change',
      'column old of public.changes',
    ],
    [
      'a materialized view',
      'CREATE MATERIALIZED VIEW changes AS SELECT p FROM user_profiles p',
      'column p of public.changes',
    ],
    [
      'what a killed pg_repack leaves',
      'CREATE SCHEMA repack; CREATE TABLE repack.log_1 (id bigserial PRIMARY KEY, row user_profiles)',
      'column "row" of repack.log_1',
    ],
  ])('%s: a conflict, and its advice works', async (_, statement, column) => {
    const { client } = here();
    await client.query(statement);
    const { conflicts } = await plan(knex);
    expect(conflicts).toEqual([expect.stringMatching(`^${column} is of the table's row type: `)]);
    await expect(migrateWith(knex, 'up')).rejects.toThrow(/is left as it was: cannot alter table/);
    const [, remedy = ''] = /\n(?:A pg_repack was killed: )?(.*?;)(?: |$)/.exec(conflicts[0] ?? '') ?? [];
    // The extension itself is not to be had here; what it would take along is.
    if (statement.includes('typed') || statement.includes('OF change')) {
      await client.query('DROP TABLE changes');
    } else {
      await client.query(remedy.replace('DROP EXTENSION pg_repack CASCADE', 'DROP SCHEMA repack CASCADE'));
    }
    expect((await plan(knex)).conflicts).toEqual([]);
    await migrateWith(knex, 'up');
  });

  test('none where no type changes and no column with a default comes, nor of a view', async () => {
    const { client } = here();
    await client.query('CREATE VIEW changes AS SELECT p FROM user_profiles p');
    expect((await plan(knex)).conflicts).toEqual([]);
    await migrateWith(knex, 'up');
    await client.query(
      'CREATE TABLE kept (old user_profiles); ALTER TABLE user_profiles DROP COLUMN external_id',
    );
    expect((await plan(knex)).conflicts).toEqual([]);
    await migrateWith(knex, 'up');
  });
});

test('what may refuse what the application stores: CHECK constraints, on the way there', async () => {
  await here().client.query(`ALTER TABLE user_profiles ADD CONSTRAINT codes_are_there CHECK (backup_codes IS NOT NULL),
    ADD CONSTRAINT token_length CHECK (char_length(email_verification_token) <= 100),
    ADD CONSTRAINT is_told CHECK (email_verified IS NOT NULL), ADD CONSTRAINT other CHECK (phone <> '')`);
  expect((await warnings()).sort()).toEqual([
    'constraint codes_are_there refuses NULL, which the application stores: ' +
      'ALTER TABLE public.user_profiles DROP CONSTRAINT codes_are_there;',
    'constraint token_length of public.user_profiles may refuse what the application stores: ' +
      'CHECK ((char_length((email_verification_token)::text) <= 100))',
  ]);
  expect(await warnings('down')).toEqual([]);
});

test('an archive of before: the change is refused where values would go into it, and what is said helps', async () => {
  const { client } = here();
  await migrateWith(knex, 'up');
  await client.query("UPDATE user_profiles SET external_id = 'x'");
  await migrateWith(knex, 'down');
  await client.query('DELETE FROM user_profiles WHERE user_id = 4');
  await migrateWith(knex, 'up');
  const archive = 'public.user_profiles_0016_down_archive';
  expect(await warnings('down')).toContainEqual(expect.stringMatching(`^${archive} is there already, `));
  await expect(migrateWith(knex, 'down')).rejects.toThrow(/"user_profiles_0016_down_archive" already exists/);
  await client.query(`DROP TABLE ${archive}`);
  expect((await warnings('down')).join()).not.toContain(archive);
  await migrateWith(knex, 'down');
});

const testNotEnforced = serverVersion >= 18 ? test : test.skip;
testNotEnforced('a CHECK that is not enforced refuses nothing', async () => {
  await migrateWith(knex, 'up');
  await here().client.query(
    'ALTER TABLE user_profiles ADD CHECK (external_id IS NOT NULL) NOT ENFORCED, ADD CHECK (auth_provider IS NOT NULL) NOT VALID',
  );
  expect((await verify(knex)).columns.flatMap(({ differs }) => differs)).toEqual([
    expect.stringContaining('user_profiles_auth_provider_check refuses NULL'),
  ]);
});

test('what goes with a column that is dropped: indexes, CHECKs, statistics, grants', async () => {
  const { client } = here();
  await migrateWith(knex, 'up');
  expect(await warnings('down')).toEqual([]);
  // email_verified was there before: it stays.
  await client.query(`CREATE INDEX by_provider ON user_profiles (auth_provider, phone);
    CREATE INDEX lower_id ON user_profiles (lower(external_id)) WHERE phone IS NOT NULL;
    ALTER TABLE user_profiles ADD UNIQUE (external_id), ADD CONSTRAINT both_or_none CHECK ((external_id IS NULL) = (auth_provider IS NULL));
    CREATE STATISTICS together ON auth_provider, external_id FROM user_profiles;
    GRANT SELECT (external_id), UPDATE (external_id) ON user_profiles TO PUBLIC;
    CREATE INDEX stays ON user_profiles (phone, email_verified); GRANT SELECT (phone) ON user_profiles TO PUBLIC`);
  const went = [
    'auth_provider goes constraint both_or_none on table public.user_profiles',
    'auth_provider goes index public.by_provider',
    'auth_provider goes statistics object public.together',
    'external_id goes GRANT SELECT TO PUBLIC',
    'external_id goes GRANT UPDATE TO PUBLIC',
    'external_id goes constraint both_or_none on table public.user_profiles',
    'external_id goes constraint user_profiles_external_id_key on table public.user_profiles',
    'external_id goes index public.lower_id',
    'external_id goes statistics object public.together',
  ];
  expect((await warnings('down')).sort()).toEqual(
    went.map((what) => `with column ${what}: it does not come back with it`),
  );
});

test('plan warns of a function that reads the column, and not of one that has both names, or a longer one', async () => {
  const { client } = here();
  const counts = (name: string, condition: string) =>
    client.query(`CREATE FUNCTION ${name}() RETURNS bigint LANGUAGE plpgsql AS $$
      BEGIN RETURN (SELECT count(*) FROM user_profiles WHERE ${condition}); END $$`);
  await counts('spent', 'backup_codes IS NULL');
  await counts('adapted', 'mfa_backup_codes IS NULL OR backup_codes IS NULL');
  await counts('other', 'old_backup_codes_2 IS NULL');
  expect(await warnings()).toEqual([
    expect.stringMatching(/^function (public\.)?spent\(\) has backup_codes in its text/),
  ]);
  expect(await functions.up(here())).not.toContainEqual(expect.stringContaining('WARNING'));
});

test('plan warns of a view that leaves the column out by its name, and not of one that reads it', async () => {
  const { client } = here();
  const masks = (names: string) => `CREATE OR REPLACE VIEW people AS
    SELECT id, (to_jsonb(p) ->> 'id')::bigint AS user_id, to_jsonb(p) -> (${names}) AS codes FROM user_profiles p`;
  await client.query(
    `CREATE VIEW codes AS SELECT backup_codes FROM user_profiles; ${masks("'backup_codes'")}`,
  );
  expect(await warnings()).toEqual([
    expect.stringMatching(
      /^view (public\.)?people has backup_codes in its text, and may fail or pass over it/,
    ),
  ]);
  await client.query(masks("'backup_codes' || 'mfa_backup_codes'"));
  expect(await warnings()).toEqual([]);
});

test('a history that gets the rows by name, as temporal_tables does', async () => {
  await here().client.query(`CREATE TABLE history (LIKE user_profiles);
    CREATE SCHEMA tenant; CREATE TABLE tenant.history (LIKE user_profiles);
    CREATE FUNCTION versioning() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      EXECUTE format('INSERT INTO %s SELECT * FROM jsonb_populate_record(NULL::%1$s, $1)', TG_ARGV[0]) USING to_jsonb(OLD); RETURN NEW; END $$;
    CREATE TRIGGER versioning BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE versioning('history')`);
  expect(await warnings()).toEqual([
    expect.stringMatching(
      /^(public\.)?history has a column backup_codes as well: where trigger versioning writes rows to it by name, rename /,
    ),
  ]);
  await here().client.query('ALTER TABLE history RENAME backup_codes TO mfa_backup_codes');
  expect(await warnings()).toEqual([]);
});

test("... nor of the server's own functions, and symbols that are called like the column", async () => {
  const { client, admin } = here();
  await client.query('ALTER TABLE user_profiles ADD drandom text');
  await admin.query(`
    CREATE FUNCTION pg_catalog.own() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM drandom; END';
    CREATE FUNCTION public.chance() RETURNS float8 LANGUAGE internal AS 'drandom'`);
  const rename = { from: 'drandom', to: 'chance', type: 'text', moveWhere: 'mfa_enabled', empty: '' };
  const change = tableChange({ id: '17', table: 'user_profiles', add: {}, rename });
  expect(await warnings('up', change)).toEqual([]);
  expect(await migrateWith(knex, 'up', change)).not.toContainEqual(expect.stringContaining('WARNING'));
});

test('what is built or checked anew behind the lock, where the table is large; and what is said helps', async () => {
  const { client } = here();
  const dependents = `CREATE INDEX part ON user_profiles (id) WHERE email_verification_token IS NOT NULL;
    CREATE INDEX lowered ON user_profiles (lower(email_verification_token));
    CREATE INDEX plain ON user_profiles (email_verification_token);
    ALTER TABLE user_profiles ADD CONSTRAINT filled CHECK (email_verification_token <> '')`;
  const said = async () => (await warnings()).filter((line) => line.includes(' anew while readers wait'));
  await client.query(dependents);
  expect(await said()).toEqual([]);
  await client.query('DROP TABLE user_profiles, auth_user CASCADE');
  await loadProfiles(client, 10_000);
  await client.query(dependents);
  const anew = 'is built or checked anew while readers wait, as email_verification_token gets another type';
  expect((await said()).sort()).toEqual([
    expect.stringMatching(`^constraint filled on table public.user_profiles ${anew}`),
    expect.stringMatching(`^index public.lowered ${anew}`),
    expect.stringMatching(`^index public.part ${anew}`),
  ]);
  await client.query('DROP INDEX part, lowered; ALTER TABLE user_profiles DROP CONSTRAINT filled');
  const files = `SELECT pg_relation_filenode('plain'), pg_relation_filenode('user_profiles')`;
  const { rows } = await client.query(files);
  expect(await said()).toEqual([]);
  await migrateWith(knex, 'up');
  // Before 11 the default rewrites it all.
  if (serverVersion >= 11) expect((await client.query(files)).rows).toEqual(rows);
  await client.query(
    `CREATE INDEX CONCURRENTLY part ON user_profiles (id) WHERE email_verification_token IS NOT NULL`,
  );
  await client.query(
    `ALTER TABLE user_profiles ADD CONSTRAINT filled CHECK (email_verification_token <> '') NOT VALID`,
  );
  await client.query(`ALTER TABLE user_profiles VALIDATE CONSTRAINT filled`);
});
