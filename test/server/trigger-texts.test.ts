import { everythingIn } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { functions, type Route, scripts } from '../support/routes';
import { doing, doingOnce, fire, ignoring, refusal } from '../support/triggers';

// Where the write that is tried (canary.test.ts) cannot tell, the texts of triggers decide.
const here = databasePerTest('0015');

const everything = () => everythingIn(here().client);
/** In a session of its own: one keeps the plans of a trigger for the shape it has met first. */
const write = () => here().admin.query("UPDATE public.user_profiles SET phone = '2' WHERE id = 1");

const reads = 'PERFORM NEW.backup_codes';

describe.each<[string, Route]>([
  ['up() and down()', functions],
  ['script', scripts],
])('%s', (_, route) => {
  const refused = async () => {
    const before = await everything();
    const said = await refusal(route.up(here()));
    expect(await everything()).toEqual(before);
    return said;
  };

  test.each([
    ['a trigger without UPDATE', doing(reads, fire('BEFORE INSERT ON user_profiles FOR EACH ROW'))],
    [
      'a trigger without UPDATE, that reads OLD in quotes',
      doing('PERFORM old . "backup_codes"', fire('BEFORE DELETE ON user_profiles FOR EACH ROW')),
    ],
    [
      'a trigger with WHEN',
      doing(reads, fire("BEFORE UPDATE ON user_profiles FOR EACH ROW WHEN (NEW.role = 'doctor')")),
    ],
    ['no row is there', `${doing(reads)}; TRUNCATE user_profiles`],
  ])('refused: %s', async (_name, statements) => {
    await here().client.query(statements);
    expect(await refused()).toMatch(
      /^user_profiles is left as it was: trigger audit on (public\.)?user_profiles: its function (public\.)?audit\(\) has backup_codes in its text, .*MIGRATION_IGNORE_DEPENDENTS=1/,
    );
  });

  test.each([
    ["- 'backup_codes'", "- 'mfa_secret' - 'backup_codes'"],
    ["- ARRAY['...', 'backup_codes']", "- ARRAY['mfa_secret', 'backup_codes']"],
    ["- '{..., backup_codes}'", "- '{mfa_secret, backup_codes}'::text[]"],
  ])('refused: a list of what is left out of a log; with both names it is not: %s', async (_name, list) => {
    if (serverVersion < 10) return;
    const { client } = here();
    const logs = (
      left: string,
    ) => `CREATE OR REPLACE FUNCTION log_changes() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO public.log VALUES (to_jsonb(NEW) ${left}); RETURN NULL; END $$`;
    await client.query(`CREATE TABLE log (entry jsonb); ${logs(list)};
      CREATE TRIGGER log_changes AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE log_changes()`);
    expect(await refused()).toMatch(
      /trigger log_changes on .* has backup_codes in its text, and may fail or pass over it/,
    );
    await client.query(logs(`${list} - 'mfa_backup_codes'`));
    await route.up(here());
    await write();
    const { rows } = await client.query("SELECT FROM log WHERE entry::text LIKE '%A1B2%'");
    expect(rows).toEqual([]);
  });

  test.each([
    ['that keeps codes out of a log', "SELECT entry - 'backup_codes'", 'PERFORM helper(to_jsonb(NEW))'],
    [
      'that writes the column',
      "UPDATE user_profiles SET backup_codes = NULL WHERE false; SELECT '{}'::jsonb",
      "IF TG_OP = 'INSERT' THEN PERFORM helper('{}'); END IF",
    ],
  ])(
    'refused: a function %s, which a trigger calls; with both names it is not',
    async (_name, body, call) => {
      const { client } = here();
      const helper = (text: string) =>
        `CREATE OR REPLACE FUNCTION helper(entry jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
       BEGIN IF false THEN ${text}; END IF; RETURN entry; END $$`;
      await client.query(
        `${helper(body)}; ${doing(call, fire('AFTER INSERT ON user_profiles FOR EACH ROW'))}`,
      );
      expect(await refused()).toMatch(
        /trigger audit on .*: its function (public\.)?helper\(jsonb\) has backup_codes in its text/,
      );
      await client.query(helper(`${body}; PERFORM 'mfa_backup_codes'`));
      expect((await route.up(here())).join()).not.toMatch(/WARNING/);
    },
  );

  test('a function that only has a name as one that a trigger calls: neither refused nor told', async () => {
    await here().client.query(`
      CREATE FUNCTION reset() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM backup_codes FROM user_profiles; END $$;
      ${doing('PERFORM NEW.password_reset_token', fire('AFTER INSERT ON user_profiles FOR EACH ROW'))}`);
    expect((await route.up(here())).join()).not.toMatch(/WARNING/);
  });

  test('refused: an INSERT trigger that keeps both names in step, as one of them goes', async () => {
    const { client } = here();
    await client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes text;
      ${doing('NEW.mfa_backup_codes := NEW.backup_codes::text', fire('BEFORE INSERT ON user_profiles FOR EACH ROW'))}`);
    expect(await refused()).toMatch(/trigger audit on .* has backup_codes in its text/);
  });

  test('refused: a copy of a transition table, by TABLE', async () => {
    if (serverVersion < 10) return;
    await here().client.query(
      doingOnce(
        'INSERT INTO audit TABLE gone',
        'AFTER DELETE ON user_profiles REFERENCING OLD TABLE AS gone',
      ),
    );
    expect(await refused()).toMatch(/trigger audit on .* has a copy of whole rows .* in its text/);
  });

  test.each([
    ['by another way', "PERFORM to_jsonb(NEW) -> 'backup_codes'"],
    ['in a comment that looks like a list', "NULL; -- 'backup_codes'\n NULL --'backup_codes'\n"],
    ['in a comment', 'NULL; -- was: NEW.backup_codes\n NULL /* NEW.backup_codes */'],
    ['in a string', "RAISE DEBUG 'NEW.backup_codes'"],
  ])('a warning, and the change is made: %s', async (_name, body) => {
    await here().client.query(doing(body, fire('BEFORE INSERT ON user_profiles FOR EACH ROW')));
    expect(await route.up(here())).toContainEqual(
      expect.stringMatching(/trigger audit on .* has backup_codes in its text/),
    );
  });

  test('a warning: a branch that the row does not take', async () => {
    await here().client.query(doing("IF TG_OP = 'INSERT' THEN PERFORM NEW.backup_codes; END IF"));
    expect(await route.up(here())).toContainEqual(
      expect.stringMatching(/trigger audit on .* has backup_codes in its text/),
    );
    await write();
  });

  test('one that has both names is adapted', async () => {
    const { client } = here();
    await client.query(
      doing(
        `IF to_jsonb(NEW) ? 'mfa_backup_codes' THEN PERFORM NEW.mfa_backup_codes; ELSE PERFORM NEW.backup_codes; END IF`,
      ),
    );
    for (const way of [route.up, route.down, route.up]) {
      expect(await way(here())).not.toContainEqual(expect.stringContaining('audit'));
      await write();
    }
  });

  test('a trigger that is switched off is none', async () => {
    await here().client.query(`${doing(reads)}; ALTER TABLE user_profiles DISABLE TRIGGER audit`);
    expect(await route.up(here())).not.toContainEqual(expect.stringContaining('audit'));
  });

  test('refused: a trigger of another table that writes this one; under both names it is not', async () => {
    const { client } = here();
    const makes = (body: string) => `
      CREATE OR REPLACE FUNCTION make_profile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body}; RETURN NULL; END $$`;
    const insert = (name: string) => `
      INSERT INTO user_profiles (role, created_at, updated_at, user_id, mfa_enabled, ${name}, email_verified)
      VALUES ('patient', now(), now(), NEW.id, false, '[]', false)`;
    await client.query(`${makes(insert('backup_codes'))};
      CREATE TRIGGER sign_up AFTER INSERT ON auth_user FOR EACH ROW EXECUTE PROCEDURE make_profile()`);
    expect(await refused()).toMatch(
      /^user_profiles is left as it was: trigger sign_up on (public\.)?auth_user: its function (public\.)?make_profile\(\) has backup_codes in its text/,
    );
    await client.query(
      makes(`IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND attname = 'mfa_backup_codes')
             THEN ${insert('mfa_backup_codes')}; ELSE ${insert('backup_codes')}; END IF`),
    );
    await signUp('before');
    await route.up(here());
    await signUp('after');
    expect((await client.query('SELECT FROM user_profiles')).rows).toHaveLength(22);
  });

  test('a trigger of another table that does not name this one: a warning', async () => {
    await here().client.query(`
      CREATE TABLE old_codes (backup_codes jsonb);
      CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM NEW.backup_codes; RETURN NEW; END $$;
      CREATE TRIGGER audit BEFORE UPDATE ON old_codes FOR EACH ROW EXECUTE PROCEDURE audit()`);
    expect(await route.up(here())).toContainEqual(expect.stringMatching(/trigger audit on .*old_codes/));
  });

  test('refused: an argument of a trigger that names the column; with both names it is not', async () => {
    const { client } = here();
    const logs = (names: string) => `
      DROP TRIGGER IF EXISTS log_changes ON user_profiles;
      CREATE TRIGGER log_changes AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE log_changes(${names})`;
    await client.query(`
      CREATE TABLE log (entry jsonb);
      CREATE FUNCTION log_changes() RETURNS trigger LANGUAGE plpgsql AS $$
      DECLARE entry jsonb := to_jsonb(NEW);
      BEGIN
        FOR i IN 0 .. TG_NARGS - 1 LOOP entry := entry - TG_ARGV[i]; END LOOP;
        INSERT INTO public.log VALUES (entry);
        RETURN NULL;
      END $$;
      ${logs("'mfa_secret', 'backup_codes'")}`);
    expect(await refused()).toMatch(
      /^user_profiles is left as it was: trigger log_changes on (public\.)?user_profiles: its argument names backup_codes, and does not follow the change/,
    );
    await client.query(logs("'backup_codes', 'mfa_backup_codes'"));
    await route.up(here());
    await write();
    const { rows } = await client.query("SELECT entry ? 'mfa_backup_codes' AS written FROM log");
    expect(rows).toEqual([{ written: false }]);
  });
});

test.each(ignoring)('%s: a warning, and the change is made', async (_, up) => {
  await here().client.query(doing(reads, fire('BEFORE INSERT ON user_profiles FOR EACH ROW')));
  expect(await up(here())).toContainEqual(
    expect.stringMatching(/trigger audit on .* has backup_codes in its text/),
  );
  await here().client.query('SELECT mfa_backup_codes FROM user_profiles');
});

(serverVersion >= 10 ? test : test.skip)(
  'a trigger of a partition in which no row was tried: the text decides',
  async () => {
    const { client } = here();
    await client.query(`
      CREATE TABLE whole (LIKE user_profiles) PARTITION BY LIST (mfa_enabled);
      CREATE TABLE off PARTITION OF whole FOR VALUES IN (false);
      CREATE TABLE switched_on PARTITION OF whole FOR VALUES IN (true);
      INSERT INTO whole SELECT * FROM user_profiles;
      DROP TABLE user_profiles;
      ALTER TABLE whole RENAME TO user_profiles;
      ${doing('PERFORM NEW.backup_codes', fire('BEFORE UPDATE ON switched_on FOR EACH ROW'))}`);
    const before = await everything();
    expect(await refusal(functions.up(here()))).toMatch(
      /^user_profiles is left as it was: trigger audit on (public\.)?switched_on/,
    );
    expect(await everything()).toEqual(before);
  },
);

async function signUp(name: string): Promise<void> {
  await here().client.query(
    `INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
     VALUES ('!', false, $1, '', '', '', false, true, now())`,
    [name],
  );
}
