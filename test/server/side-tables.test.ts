import { dataOf, everythingIn } from '../support/catalog';
import { databasePerTest, type TestDatabase } from '../support/database';
import { functions, scripts } from '../support/routes';
import { refusal } from '../support/triggers';

// Tables that bear the names under which the change keeps something, and are not of this change.
const here = databasePerTest('0015-described');

let other: string; // a role that may make tables, and no more
beforeEach(async () => {
  const { admin, name } = here();
  other = `${name}_other`;
  await admin.query(`CREATE ROLE ${other}; GRANT CREATE ON SCHEMA public TO ${other}`);
  await admin.query(`CREATE SCHEMA theirs AUTHORIZATION ${other}`);
});
afterEach(() => here().admin.query(`DROP OWNED BY ${other} CASCADE; DROP ROLE ${other}`));

const archive = 'user_profiles_0016_down_archive';
const asSuperuser = () => ({ ...here(), url: here().adminUrl, client: here().admin });

/** Makes the tables of the other role, with code that makes it a superuser if a superuser runs it. */
const trap = (schema: string) =>
  here().admin.query(`
    SET LOCAL ROLE ${other}; SET LOCAL search_path = ${schema}, public;
    CREATE FUNCTION ${schema}.risen() RETURNS text LANGUAGE plpgsql AS
      'BEGIN ALTER ROLE ${other} SUPERUSER; RETURN NULL; END';
    CREATE FUNCTION ${schema}.rise() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN PERFORM ${schema}.risen(); RETURN OLD; END';
    CREATE TABLE ${schema}.${archive} (id bigint PRIMARY KEY, external_id varchar(255));
    INSERT INTO ${schema}.${archive} VALUES (4, 'theirs');
    CREATE TRIGGER rise BEFORE UPDATE OR DELETE ON ${schema}.${archive}
      FOR EACH ROW EXECUTE PROCEDURE ${schema}.rise();
    CREATE TABLE ${schema}.user_profiles_0016_before (backup_codes jsonb, phone text DEFAULT ${schema}.risen());
    DO $$ DECLARE name text; BEGIN
      FOREACH name IN ARRAY ARRAY['${archive}', 'user_profiles_0016_before'] LOOP
        EXECUTE format('COMMENT ON TABLE ${schema}.%I IS ''Kept by change 16 of table %s.''', name,
                       'public.user_profiles'::regclass::oid);
      END LOOP; END $$`);

const hasRisen = async () =>
  (await here().admin.query('SELECT rolsuper FROM pg_roles WHERE rolname = $1', [other])).rows[0].rolsuper;
const externalIds = async () =>
  (await here().client.query('SELECT external_id FROM user_profiles WHERE external_id IS NOT NULL')).rows;

const whoRunsIt: [string, () => TestDatabase][] = [
  ['the owner', here],
  ['a superuser', asSuperuser],
];

describe.each([functions, scripts])('$name', ({ up, down }) => {
  describe.each(whoRunsIt)("somebody else's, run by %s", (_who, as) => {
    test('in the same schema: refused, and what is said helps', async () => {
      const { admin } = here();
      await trap('public');
      const before = await everythingIn(admin);
      const said = await refusal(up(as()));
      expect(said).toMatch(/^user_profiles is left as it was: /);
      for (const table of ['user_profiles_0016_before', archive]) {
        expect(said).toMatch(
          `public.${table} belongs to another role than public.user_profiles. Look into it: where it is of this change,`,
        );
      }
      expect(said).toMatch(/otherwise rename it\.$/m);
      expect(await everythingIn(admin)).toEqual(before);
      await admin.query(`ALTER TABLE ${archive} RENAME TO theirs_1;
        ALTER TABLE user_profiles_0016_before RENAME TO theirs_2`);
      await up(as());
      await down(as());
      expect(await hasRisen()).toBe(false);
    });

    test('in another schema: passed over, there and back', async () => {
      const { admin } = here();
      await trap('theirs');
      const theirs = await dataOf(admin, 'theirs');
      const before = await everythingIn(admin);
      await up(as());
      expect(await externalIds()).toEqual([]);
      await down(as());
      expect(await everythingIn(admin)).toEqual(before);
      expect(await dataOf(admin, 'theirs')).toEqual(theirs);
      expect(await hasRisen()).toBe(false);
    });
  });

  test("a superuser's table, and somebody else's beside it: refused", async () => {
    const { admin } = here();
    await admin.query('ALTER TABLE user_profiles OWNER TO CURRENT_USER');
    await trap('public');
    expect(await refusal(up(asSuperuser()))).toMatch('belongs to another role than public.user_profiles');
    expect(await hasRisen()).toBe(false);
  });

  // The oids in comments are those of another database after a restore.
  test("the archive of another tenant's table, whose comment has this one's oid: passed over", async () => {
    const { client } = here();
    await client.query(`
      CREATE SCHEMA tenant; CREATE TABLE tenant.user_profiles (LIKE user_profiles INCLUDING ALL);
      CREATE TABLE tenant.${archive} (id bigint PRIMARY KEY, external_id varchar(255));
      INSERT INTO tenant.${archive} VALUES (4, 'of the tenant');
      DO $$ BEGIN EXECUTE format('COMMENT ON TABLE tenant.${archive} IS ''Kept by change 16 of table %s.''',
                                 'public.user_profiles'::regclass::oid); END $$`);
    const tenant = await dataOf(client, 'tenant');
    await up(here());
    expect(await externalIds()).toEqual([]);
    expect(await dataOf(client, 'tenant')).toEqual(tenant);
  });

  test('a shape before, left by a change that was taken back by hand: refused, and what is said helps', async () => {
    const { client } = here();
    await up(here());
    await client.query(`
      ALTER TABLE user_profiles RENAME mfa_backup_codes TO backup_codes;
      ALTER TABLE user_profiles DROP failed_login_attempts, DROP account_locked_until, DROP password_reset_token,
        DROP password_reset_token_expires, DROP last_password_change, DROP email_verification_token,
        DROP email_verified, DROP email_verified_at, DROP auth_provider, DROP external_id;
      ALTER TABLE user_profiles ADD email_verification_token varchar(100), ADD email_verified boolean;
      UPDATE user_profiles SET email_verification_token = 'token-' || id, email_verified = true`);
    const before = await everythingIn(client);
    const said = await refusal(up(here()));
    expect(said).toMatch(
      /^user_profiles is left as it was: public\.user_profiles_0016_before is there, and so is backup_codes: the change was taken back by hand\./,
    );
    expect(await everythingIn(client)).toEqual(before);
    await client.query(/DROP TABLE .*;/.exec(said)?.[0] ?? '');
    await up(here());
    await down(here());
    const { rows } = await client.query(
      "SELECT count(*)::int AS n FROM user_profiles WHERE email_verification_token = 'token-' || id AND email_verified",
    );
    expect(rows).toEqual([{ n: 20 }]);
  });
});

test.each([functions, scripts])(
  '$name: row-level security that somebody forces on an archive hides no value',
  async ({ up, down }) => {
    const { client } = here();
    const force = (table: string) =>
      client.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`);
    await client.query(
      `ALTER TABLE user_profiles ADD mfa_backup_codes jsonb; UPDATE user_profiles SET backup_codes = '["A"]'`,
    );
    const codes = 'SELECT id, backup_codes FROM user_profiles ORDER BY id';
    const { rows: before } = await client.query(codes);
    await up(here());
    await force('user_profiles_0016_up_archive');
    await client.query("UPDATE user_profiles SET external_id = 'e' || id");
    await down(here());
    expect((await client.query(codes)).rows).toEqual(before);
    await force(archive);
    await client.query('DELETE FROM user_profiles WHERE id = 20');
    await up(here());
    const { rows } = await client.query(
      "SELECT count(*)::int AS back FROM user_profiles WHERE external_id = 'e' || id",
    );
    expect(rows).toEqual([{ back: 19 }]);
    const stays = `SELECT relrowsecurity AND relforcerowsecurity AS forced FROM pg_class WHERE relname = '${archive}'`;
    expect((await client.query(stays)).rows).toEqual([{ forced: true }]);
  },
);
