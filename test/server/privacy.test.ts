import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { plan, rehearse, up, verify } from '../../migrations/0016_add_security_fields';
import { connect, databasePerTest } from '../support/database';
import { knexCommand, knexFor, type Outcome } from '../support/knex';
import { functions, type Route, scripts } from '../support/routes';

// Tokens and codes open an account for whoever reads them.

const here = databasePerTest('both-names');

const planted = /PLANTED/i;
const output: string[] = [];

/** Runs a command and keeps what it prints. */
async function command(name: string): Promise<Outcome> {
  const outcome = await knexCommand([name], { DATABASE_URL: here().url });
  output.push(outcome.stdout, outcome.stderr);
  return outcome;
}

/** What a script says, its error and its notices included. */
async function script(direction: 'up' | 'down') {
  const lines = await scripts[direction](here()).catch((error) => [JSON.stringify({ ...error }), `${error}`]);
  output.push(...lines);
  return lines.join('\n');
}

async function plant() {
  await here().client.query(`
    UPDATE user_profiles SET backup_codes = jsonb_build_array('PLANTED-' || id), email_verification_token = 'PLANTED-' || id,
                             mfa_secret = 'PLANTED-' || id WHERE mfa_enabled`);
}

async function plantMore() {
  await here().client.query(`
    UPDATE user_profiles SET password_reset_token = 'PLANTED-' || id, external_id = 'PLANTED-' || id,
                             email_verification_token = rpad('PLANTED-' || id, 150, 'x')`);
}

const serverLog = process.env['TEST_SERVER_LOG'] ?? '';
let logBefore: number;

/** What the server has logged since: all of it may be too much for a string. */
function loggedSince(start: number): string {
  const bytes = Buffer.alloc(statSync(serverLog).size - start);
  const file = openSync(serverLog, 'r');
  readSync(file, bytes, 0, bytes.length, start);
  closeSync(file);
  return bytes.toString();
}

beforeEach(async () => {
  output.length = 0;
  logBefore = statSync(serverLog).size;
  await plant();
});

afterEach(() => {
  // Something was printed at all.
  expect(output.join('').length).toBeGreaterThan(100);
  expect(output.filter((text) => planted.test(text))).toEqual([]);
  expect(
    loggedSince(logBefore)
      .split('\n')
      .filter((line) => planted.test(line)),
  ).toEqual([]);
});

test('steps, plan, rehearsal and verify show no token and no code', async () => {
  const knex = await knexFor(here().url);
  const show = (result: unknown) => output.push(JSON.stringify(result));
  try {
    for (const direction of ['up', 'down', 'up'] as const) {
      for (const way of ['up', 'down'] as const) {
        show(await plan(knex, way));
        show(await rehearse(knex, way));
      }
      show(await functions[direction](here()));
      show(await verify(knex));
      if (direction === 'up') await plantMore();
    }
  } finally {
    await knex.destroy();
  }
});

describe('an error over a value shows the step, and not the value', () => {
  // Each stands in the way of a value that moves, or of every write from then on.
  const inTheWay = {
    'a check':
      "ALTER TABLE user_profiles ADD CHECK (mfa_backup_codes IS NULL OR mfa_backup_codes NOT LIKE '%PLANTED-6%') NOT VALID",
    'a unique index': `UPDATE user_profiles SET backup_codes = '["PLANTED"]' WHERE mfa_enabled; CREATE UNIQUE INDEX ON user_profiles (mfa_backup_codes)`,
    'a view with CHECK OPTION that a trigger writes into': `CREATE TABLE seen (codes text);
      CREATE VIEW unseen AS SELECT * FROM seen WHERE codes IS NULL WITH CHECK OPTION;
      CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO unseen VALUES (NEW.mfa_backup_codes); RETURN NULL; END';
      CREATE TRIGGER see AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE see()`,
    "a statement with the row in it, of a trigger's": `UPDATE user_profiles SET mfa_secret = 'PLANTED' WHERE id = 1;
      CREATE FUNCTION see(profile json) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN IF profile -> 'backup_codes' IS NULL THEN RAISE 'unknown shape'; END IF; END $$;
      CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE format('SELECT see(%L)', row_to_json(NEW)); RETURN NULL; END $$;
      CREATE TRIGGER see AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE see()`,
    'a type': 'ALTER TABLE user_profiles ALTER mfa_backup_codes TYPE varchar(5)',
  };

  const refused = /user_profiles is left as it was: /;

  test.each(Object.entries(inTheWay))('%s', async (_name, sql) => {
    await here().client.query('UPDATE user_profiles SET mfa_backup_codes = NULL');
    await here().client.query(sql);
    const { code, stderr } = await command('migrate:latest');
    expect(code).toBe(1);
    expect(stderr).toMatch(refused);
    expect(await script('up')).toMatch(refused);
  });
});

describe('the query of whoever is in the way is shown up to its first value', () => {
  const settings = { MIGRATION_LOCK_DEADLINE: '0', MIGRATION_QUIET: '1' };
  beforeAll(() => Object.assign(process.env, settings));
  afterAll(() => {
    for (const name of Object.keys(settings)) delete process.env[name];
  });

  test.each([
    ['a plain value', "password_reset_token = 'PLANTED-1', phone = 'PLANTED'"],
    ['a backslash at its end', "phone = '\\', password_reset_token = 'PLANTED-1'"],
    ['an escaped quote', "phone = E'\\'', password_reset_token = E'PLANTED-1'"],
    ['dollar quotes after another', "phone = '''', password_reset_token = $t1$PLANTED-1$t1$"],
    ['dollar quotes', 'password_reset_token = $$PLANTED-1$$'],
    ['Unicode escapes', "password_reset_token = U&'PLANTED-1'"],
    ['one that is cut off', `password_reset_token = left('${'PLANTED'.repeat(300)}', 9), phone = 'x'`],
  ])('%s', async (_name, sets) => {
    const { url, client } = here();
    await client.query('ALTER TABLE user_profiles ALTER phone TYPE text');
    const blocker = await connect(url);
    await blocker.query('BEGIN');
    await blocker.query(`UPDATE user_profiles SET ${sets} WHERE id = 1`);
    const knex = await knexFor(url);
    const { message } = await up(knex).catch((error) => error);
    const { holders } = await plan(knex);
    output.push(message, `${holders}`);
    for (const text of [message, holders]) {
      expect(text).toMatch(/idle in transaction, transaction open for .* s: UPDATE user_profiles SET .* = /);
    }
    await knex.destroy();
    await blocker.end();
  });
});

describe('row-level security hides no row, and is afterwards as before', () => {
  const policy = `ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY half ON user_profiles USING (id % 4 = 1) WITH CHECK (id % 4 = 1)`;
  const security = async () =>
    (
      await here().admin.query(
        `SELECT relrowsecurity, relforcerowsecurity, (SELECT count(*)::int FROM pg_policy WHERE polrelid = c.oid) AS policies
         FROM pg_class c WHERE oid = 'user_profiles'::regclass`,
      )
    ).rows;
  /** Where the application connects as the owner, he is not to see more in an archive than in the table. */
  const seen = async (archive: string) => {
    const count = `SELECT count(*)::int AS n FROM ${archive}`;
    expect((await here().admin.query(count)).rows[0].n).toBeGreaterThan(0);
    return (await here().client.query(count)).rows[0].n;
  };
  const forced = [{ relrowsecurity: true, relforcerowsecurity: true, policies: 1 }];

  test.each<[string, Route]>([
    ['up() and down()', functions],
    ['script', scripts],
  ])('%s: moved, filled, archived and given back', async (_name, route) => {
    const { client, admin } = here();
    await client.query(`ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL; UPDATE user_profiles SET email_verified = NULL;
      UPDATE user_profiles SET mfa_backup_codes = '["other"]' WHERE id = 2`);
    const expected = 'SELECT id, backup_codes FROM user_profiles ORDER BY id';
    const { rows: codes } = await admin.query(expected);
    await client.query(policy);
    output.push(...(await route.up(here())));
    expect(await security()).toEqual(forced);
    const { rows: now } = await admin.query(
      'SELECT count(*) FILTER (WHERE email_verified IS FALSE)::int AS filled, count(mfa_backup_codes)::int AS moved FROM user_profiles',
    );
    expect(now).toEqual([{ filled: 20, moved: 10 }]);
    expect(await seen('user_profiles_0016_up_archive')).toBe(0);

    await admin.query("UPDATE user_profiles SET external_id = 'external-' || id, failed_login_attempts = id");
    output.push(...(await route.down(here())));
    expect(await security()).toEqual(forced);
    expect((await admin.query(expected)).rows).toEqual(codes);

    output.push(...(await route.up(here())));
    expect(await security()).toEqual(forced);
    const { rows: back } = await admin.query(
      "SELECT count(*)::int AS n FROM user_profiles WHERE external_id = 'external-' || id AND failed_login_attempts = id",
    );
    expect(back).toEqual([{ n: 20 }]);
  });

  test('nothing is lifted for a role that sees every row anyway', async () => {
    const { client, admin, owner } = here();
    await client.query(`ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL; ${policy}`);
    await admin.query(`ALTER ROLE ${owner} BYPASSRLS; UPDATE user_profiles SET email_verified = NULL`);
    const said = await functions.up(here());
    output.push(...said);
    expect(said).toContain(
      'UPDATE public.user_profiles SET email_verified = coalesce(email_verified, false) WHERE email_verified IS NULL (20 rows)',
    );
    expect(said.filter((line) => /user_profiles (NO )?FORCE ROW LEVEL SECURITY/.test(line))).toEqual([]);
    expect(await security()).toEqual(forced);
  });
});

test.each([
  [
    'everywhere and in the schema',
    ['GRANT SELECT ON TABLES TO reader', 'IN SCHEMA public GRANT ALL ON TABLES TO reader, PUBLIC'],
  ],
  ['in the schema', ['IN SCHEMA public GRANT SELECT ON TABLES TO reader']],
])(
  'whoever makes the change: what he grants by default %s is not granted on an archive, but on the shape before',
  async (_where, grants) => {
    const { admin, adminUrl, client, owner, name } = here();
    const reader = `${name}_reader`;
    await client.query('ALTER TABLE user_profiles DROP external_id');
    await admin.query(`CREATE ROLE ${reader}`);
    try {
      for (const grant of grants)
        await admin.query(`ALTER DEFAULT PRIVILEGES ${grant.replace('reader', reader)}`);
      const superuser = { ...here(), url: adminUrl, client: admin };
      const grantees = async () => {
        const { rows } = await admin.query(
          `SELECT DISTINCT pg_get_userbyid(x.grantee) AS grantee FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner))) x
         WHERE relname LIKE 'user_profiles_0016%archive' AND relkind = 'r'`,
        );
        return rows.map(({ grantee }) => grantee);
      };
      for (const route of [functions, scripts]) {
        output.push(...(await route.up(superuser)));
        expect(await grantees()).toEqual([owner]);
        // Or a pg_dump by a role that may read every table would stop at it.
        const { rows } = await admin.query(
          `SELECT has_table_privilege('${reader}', 'user_profiles_0016_before', 'SELECT') AS reads`,
        );
        expect(rows).toEqual([{ reads: true }]);
        await client.query("UPDATE user_profiles SET external_id = 'x'");
        output.push(...(await route.down(superuser)));
        expect(await grantees()).toEqual([owner]);
      }
    } finally {
      await admin.query(`DROP OWNED BY ${reader}; DROP ROLE ${reader}`);
    }
  },
);
