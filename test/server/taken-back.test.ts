import { shapeOf } from '../support/application';
import { everythingIn, schemaOf } from '../support/catalog';
import { databasePerTest, loadState, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, type Route, scripts } from '../support/routes';

const here = databasePerTest();

const everything = () => everythingIn(here().client);
const nothing =
  /nothing to take back: there is no table public\.user_profiles_0016_before\. It has been taken back already, or the columns/;

test.each<[string, Route]>([
  ['up() and down()', functions],
  ['script', scripts],
])('a second time changes nothing: %s', async (_, route) => {
  await loadState(here().client, '0015');
  await route.up(here());
  await here().client.query("UPDATE user_profiles SET external_id = 'x'");
  await route.down(here());
  const before = await everything();
  const said = await route.down(here());
  expect(said).toEqual([expect.stringMatching(nothing)]);
  expect(await everything()).toEqual(before);
});

test("the same with Knex's record put back, as a crash before it was deleted leaves it", async () => {
  const { client, url } = here();
  await loadState(client, '0015');
  const knex = await knexFor(url);
  const log = jest.spyOn(console, 'log').mockImplementation(() => undefined);
  try {
    await knex.migrate.latest();
    await knex.migrate.down();
    const before = await everything();
    await client.query(
      "INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('0016_add_security_fields', 1, now())",
    );
    log.mockClear();
    await knex.migrate.down();
    expect(log.mock.calls.flat()[0]).toMatch(nothing);
    expect(await everything()).toEqual(before);
    expect((await client.query('SELECT * FROM knex_migrations')).rows).toEqual([]);
    // And forward again, all the way.
    await knex.migrate.latest();
  } finally {
    log.mockRestore();
    await knex.destroy();
  }
});

test('without a change that went before', async () => {
  await loadState(here().client, 'repaired-by-hand');
  const before = await everything();
  const said = await functions.down(here());
  expect(said[0]).toMatch(nothing);
  expect(await everything()).toEqual(before);
});

test('a type that was changed since stays, and that is said', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await functions.up(here());
  await client.query(`
    ALTER TABLE user_profiles ALTER mfa_backup_codes TYPE text, ALTER email_verified DROP DEFAULT,
      ALTER email_verified TYPE text;
    UPDATE user_profiles SET mfa_backup_codes = '' WHERE user_id = 1;
    UPDATE user_profiles SET mfa_backup_codes = NULL WHERE user_id = 2`);
  const said = await functions.down(here());
  expect(said).toContainEqual(
    expect.stringMatching(
      /leave backup_codes as text, though it was jsonb: its type has been changed since$/,
    ),
  );
  expect(said).toContainEqual(expect.stringMatching(/leave email_verified as text, though it was boolean/));
  const { rows } = await client.query(
    "SELECT count(*)::int AS n FROM user_profiles WHERE backup_codes::text LIKE '[\"A1B2%' AND email_verified IN ('true', 'false')",
  );
  expect(rows).toEqual([{ n: 9 }]);
  // Text holds JSON: nobody is left without codes where NULL may not be.
  expect(await shapeOf(client)).toMatchObject({ backup_codes: 'text NOT NULL' });
  const spent = await client.query('SELECT backup_codes FROM user_profiles WHERE user_id = 2');
  expect(spent.rows).toEqual([{ backup_codes: '[]' }]);
});

const testWithGenerated = serverVersion >= 12 ? test : test.skip;

testWithGenerated('a generated column in its place stays generated, with NULLs', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await functions.up(here());
  await client.query(`ALTER TABLE user_profiles DROP mfa_backup_codes,
    ADD mfa_backup_codes text GENERATED ALWAYS AS (CASE WHEN mfa_enabled THEN '["A1"]' END) STORED`);
  const said = (await functions.down(here())).join();
  expect(said).toMatch(/leave backup_codes as text, though it was jsonb/);
  expect(await shapeOf(client)).toMatchObject({
    backup_codes: expect.stringMatching(/^text DEFAULT\s+CASE/),
  });
});

test.each([
  ['integer', 'failed_login_attempts', 'bigint', 'bigint'],
  [
    "varchar NOT NULL DEFAULT '-'",
    'email_verification_token',
    'text',
    "character varying NOT NULL DEFAULT '-'::character varying",
  ],
  // A default of another type, as gen_random_uuid() or nextval() of a varchar.
  [
    'varchar(30) NOT NULL DEFAULT 7',
    'external_id',
    'varchar(300)',
    'character varying(30) NOT NULL DEFAULT 7',
  ],
])('what was %s before gets the rest of its shape back', async (before, column, since, after) => {
  const { client } = here();
  await loadState(client, '0015');
  await client.query(
    `ALTER TABLE user_profiles DROP COLUMN IF EXISTS ${column}, ADD COLUMN ${column} ${before}`,
  );
  await functions.up(here());
  await client.query(`ALTER TABLE user_profiles ALTER ${column} TYPE ${since}`);
  const said = (await functions.down(here())).join();
  expect(await shapeOf(client)).toMatchObject({ [column]: after });
  expect(said.includes(`leave ${column} as ${since}, though it was ${before}`)).toBe(after === since);
});

test('a column that somebody dropped since comes back as it was', async () => {
  const { client } = here();
  await loadState(client, '0015');
  const before = await everything();
  await functions.up(here());
  await client.query('ALTER TABLE user_profiles DROP email_verified, DROP external_id');
  await functions.down(here());
  expect((await everything()).schema).toEqual(before.schema);
});

test('from two names the old one comes back with its comment', async () => {
  const { client } = here();
  await loadState(client, 'both-names');
  await client.query("COMMENT ON COLUMN user_profiles.backup_codes IS 'One use each'");
  await functions.up(here());
  expect(await functions.down(here())).toContain(
    "COMMENT ON COLUMN public.user_profiles.backup_codes IS 'One use each'",
  );
  const { rows } = await client.query(
    `SELECT col_description(attrelid, attnum) AS comment FROM pg_attribute
     WHERE attrelid = 'user_profiles'::regclass AND attname = 'backup_codes'`,
  );
  expect(rows).toEqual([{ comment: 'One use each' }]);
});

test('NOT NULL comes back where nothing says what a NULL would become, as long as there is none', async () => {
  const { client } = here();
  await loadState(client, '0015');
  // A number has no value that means "none".
  await client.query(`ALTER TABLE user_profiles DROP COLUMN backup_codes,
    ADD COLUMN backup_codes integer NOT NULL DEFAULT 7`);
  await client.query('ALTER TABLE user_profiles ALTER COLUMN backup_codes DROP DEFAULT');
  const { schema } = await everything();
  await functions.up(here());
  await functions.down(here());
  expect(await schemaOf(client)).toEqual(schema);

  await functions.up(here());
  await client.query('UPDATE user_profiles SET mfa_backup_codes = NULL WHERE user_id = 2');
  const said = await functions.down(here());
  expect(said.join()).toMatch(/as a value stands in the way.*: ALTER TABLE .* NOT NULL/);
});

test('a column that a view reads keeps its wide type, and that is said', async () => {
  const { client } = here();
  await loadState(client, '0015');
  const before = await schemaOf(client);
  await functions.up(here());
  await client.query('CREATE VIEW unverified AS SELECT email_verification_token FROM user_profiles');
  const statement =
    'ALTER TABLE public.user_profiles ALTER COLUMN email_verification_token TYPE character varying(100) USING ' +
    'pg_catalog.substr(email_verification_token, 1, CASE WHEN pg_catalog.length(email_verification_token) <= 100 THEN pg_catalog.length(email_verification_token) ELSE -1 END);';
  expect(await functions.down(here())).toContain(
    `user_profiles: left as it is, as cannot alter type of a column used by a view or rule. At a quiet hour: ${statement}`,
  );
  expect(await shapeOf(client)).toMatchObject({ email_verification_token: 'character varying(255)' });
  // As it says.
  await client.query(`DROP VIEW unverified; ${statement}`);
  expect(await schemaOf(client)).toEqual(before);
});

test('an archive of the old codes is given back, and stays where somebody has made their column again', async () => {
  const { client } = here();
  const stays =
    /^user_profiles: public\.user_profiles_0016_up_archive stays: it holds values that are not back/;
  await loadState(client, 'both-names');
  await functions.up(here());
  expect(await functions.down(here())).not.toContainEqual(expect.stringMatching(stays));
  await functions.up(here());
  const archived = () => client.query('SELECT * FROM user_profiles_0016_up_archive ORDER BY id');
  const { rows } = await archived();
  expect(rows).not.toEqual([]);
  await client.query('ALTER TABLE user_profiles ADD backup_codes jsonb');
  expect(await functions.down(here())).toContainEqual(expect.stringMatching(stays));
  expect((await archived()).rows).toEqual(rows);
});

test('large values outside of the rows count as well', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await client.query(`
    ALTER TABLE user_profiles ADD photo text;
    ALTER TABLE user_profiles ALTER photo SET STORAGE EXTERNAL;
    UPDATE user_profiles SET photo = repeat('x', 1000000)`);
  await functions.up(here());
  expect(await functions.down(here())).toContainEqual(
    expect.stringMatching(
      /leave email_verification_token as character varying\(255\).*: it would rewrite (19|2\d) MB/,
    ),
  );
});

test('a table too large to rewrite keeps the wide column, and the statement for a quiet hour is said', async () => {
  const { client } = here();
  await loadState(client, '0015');
  // One row a page.
  await client.query(`
    ALTER TABLE user_profiles SET (fillfactor = 10), DROP CONSTRAINT user_profiles_user_id_key, DROP CONSTRAINT user_profiles_user_id_fkey,
      ADD filler text;
    ALTER TABLE user_profiles ALTER filler SET STORAGE PLAIN;
    INSERT INTO user_profiles (role, created_at, updated_at, user_id, mfa_enabled, backup_codes, email_verified, filler)
    SELECT 'patient', now(), now(), g, false, '[]', false, repeat('x', 5000) FROM generate_series(100, 2200) g`);
  await functions.up(here());
  const said = await functions.down(here());
  expect(said).toContainEqual(
    expect.stringMatching(
      /^user_profiles: leave email_verification_token as character varying\(255\), though it was character varying\(100\): it would rewrite 1\d MB in 1 tables\. At a quiet hour: ALTER TABLE public\.user_profiles ALTER COLUMN email_verification_token TYPE character varying\(100\) USING .*;$/,
    ),
  );
});
