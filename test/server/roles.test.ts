import type { DatabaseError } from 'pg';
import { plan } from '../../migrations/0016_add_security_fields';
import { declaredShape, shapeOf, writeValues } from '../support/application';
import { everythingIn } from '../support/catalog';
import { connect, databasePerTest, serverVersion, type TestDatabase, urlWith } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, type Route, scripts } from '../support/routes';
import { refusal } from '../support/triggers';

// Before the database goes: what was granted to a role in it keeps the role.
const roles: string[] = [];
afterEach(async () => {
  for (const role of roles.splice(0)) await here().admin.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
});

// Who may make the change. The table belongs to an ordinary role, which is no superuser.
const here = databasePerTest('0015');

const routes: [string, Route][] = [
  ['up() and down()', functions],
  ['script', scripts],
];
/** The same database as another role sees it, which is made with these attributes. */
async function as(suffix: string, attributes = ''): Promise<TestDatabase> {
  const { name, url, admin } = here();
  const role = `${name}_${suffix}`;
  await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}' ${attributes}`);
  roles.push(role);
  const other = urlWith(url, { username: role, password: role });
  return { ...here(), owner: role, url: other, client: await connect(other) };
}

const everything = () => everythingIn(here().admin);

describe.each(routes)('%s', (_, route) => {
  test('an ordinary owner: archives are the owner’s alone, also where others get rights by default', async () => {
    const { client, admin, owner } = here();
    const other = await as('reader');
    await client.query(`ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
                        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ${other.owner}`);
    await client.query(
      'ALTER TABLE user_profiles ADD mfa_backup_codes text; UPDATE user_profiles SET backup_codes = \'["X"]\'',
    );
    await route.up(here());
    await writeValues(client);
    const rights = async () =>
      (
        await admin.query(
          `SELECT relname, pg_get_userbyid(relowner) AS owner, ARRAY(SELECT DISTINCT grantee::regrole::text FROM aclexplode(relacl)) AS grantees
           FROM pg_class WHERE relname LIKE 'user_profiles_0016%archive' AND relkind = 'r' ORDER BY 1`,
        )
      ).rows;
    const { rows: before } = await admin.query(
      "SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname = 'user_profiles_0016_before'",
    );
    expect(before).toEqual([{ owner }]);
    const closed = (table: string) => ({ relname: `user_profiles_0016_${table}`, owner, grantees: [owner] });
    expect(await rights()).toEqual([closed('up_archive')]);
    await route.down(here());
    expect(await rights()).toEqual([closed('down_archive')]);
    await expect(other.client.query('SELECT 1 FROM user_profiles_0016_down_archive')).rejects.toThrow(
      'permission denied',
    );
    await other.client.end();
  });

  test.each([
    ['may read and write', 'GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER, REFERENCES ON user_profiles TO'],
    ['may do nothing', 'GRANT USAGE ON SCHEMA public TO'],
  ])('a role that %s: the error names the owner, and nothing changes', async (_rights, grant) => {
    const other = await as('clerk');
    await here().client.query(`${grant} ${other.owner}`);
    const before = await everything();
    for (const attempt of [route.up, route.down]) {
      await expect(attempt(other)).rejects.toThrow(
        `user_profiles belongs to ${here().owner}, and only its owner may alter it; this session is ${other.owner}`,
      );
    }
    expect(await everything()).toEqual(before);
    await other.client.end();
  });

  test('a member that does not inherit the owner’s rights: the same', async () => {
    const other = await as('distant', 'NOINHERIT');
    await here().admin.query(`GRANT ${here().owner} TO ${other.owner}`);
    await expect(route.up(other)).rejects.toThrow(`belongs to ${here().owner}`);
    await other.client.end();
  });

  const testSet = serverVersion >= 16 ? test : test.skip;
  testSet('a member that may not SET ROLE to it: plan says so, and what it says helps', async () => {
    const other = await as('bound', '');
    await here().admin.query(`GRANT ${here().owner} TO ${other.owner} WITH SET FALSE`);
    await expect(route.up(other)).rejects.toThrow('must be able to SET ROLE');
    const knex = await knexFor(other.url);
    const [conflict = ''] = (await plan(knex)).conflicts;
    expect(conflict).toMatch(/may not SET ROLE to it\nGRANT .* WITH INHERIT TRUE, SET TRUE;$/);
    await here().admin.query(conflict.split('\n')[1] ?? '');
    expect((await plan(knex)).conflicts).toEqual([]);
    await knex.destroy();
    await route.up(other);
    await other.client.end();
  });

  test.each([
    ['a member of the owner role', '', (member: string, owner: string) => `GRANT ${owner} TO ${member}`],
    ['a superuser', 'SUPERUSER', () => 'SELECT'],
  ])('%s: there and back to the same, and what is made is the owner’s', async (_who, attributes, grant) => {
    const other = await as('helper', attributes);
    await here().admin.query(grant(other.owner, here().owner));
    const before = await everything();
    await route.up(other);
    expect(await shapeOf(here().client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
    // As the owner: a table of somebody else's could not be read.
    await here().client.query('SELECT 1 FROM user_profiles_0016_before');
    await writeValues(here().client);
    await route.down(other);
    await here().client.query('SELECT 1 FROM user_profiles_0016_down_archive');
    // Whoever made it, the owner can go on with it.
    await route.up(here());
    await route.down(here());
    await here().client.query('DROP TABLE user_profiles_0016_down_archive');
    expect((await everything()).schema).toEqual(before.schema);
    await other.client.end();
  });

  test('another right that is missing: no statement that does not help', async () => {
    const { client, admin } = here();
    await admin.query('CREATE TABLE public.audit (id int)');
    await client.query(`ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL; UPDATE user_profiles SET email_verified = NULL;
      CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (1); RETURN NULL; END $$;
      CREATE TRIGGER audit AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE audit()`);
    const said = await refusal(route.up(here()));
    expect(said).toMatch(/^user_profiles is left as it was: permission denied for (table|relation) audit/);
    expect(said).not.toContain('GRANT CREATE');
  });

  test('an owner without CREATE on the schema: refused, with the statement that helps', async () => {
    const { admin, owner } = here();
    await admin.query(
      `ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM ${owner}`,
    );
    const before = await everything();
    const reason: DatabaseError = await route.up(here()).then(
      () => undefined,
      (error) => error,
    );
    expect(reason.message).toMatch(/^user_profiles is left as it was: permission denied for schema public/);
    expect(await everything()).toEqual(before);
    const [grant = ''] = /GRANT CREATE .*?;/.exec(`${reason.message} ${reason.hint}`) ?? [];
    expect(grant).toBe(`GRANT CREATE ON SCHEMA public TO ${owner};`);
    const knex = await knexFor(here().url);
    expect((await plan(knex)).conflicts).toEqual([expect.stringContaining(grant)]);
    await knex.destroy();
    // A superuser may, and gives what it makes to the owner.
    const other = await as('super', 'SUPERUSER');
    await route.up(other);
    await route.down(other);
    await other.client.end();
    await admin.query(grant);
    await route.up(here());
    await route.down(here());
  });
});
