import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseError } from 'pg';
import { everythingIn } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor, project } from '../support/knex';
import { functions, migrate, migrateWith, type Route, scripts } from '../support/routes';

// Writes that would fail from then on: found by trying one, and refused.
const here = databasePerTest('0015');

const audit = `
  CREATE TABLE audit (LIKE user_profiles);
  CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS`;
const fire = (when: string) => `CREATE TRIGGER audit ${when} EXECUTE PROCEDURE audit()`;
const eachRow = fire('AFTER INSERT OR UPDATE OR DELETE ON user_profiles FOR EACH ROW');

/** A trigger of each row that does this. */
const doing = (body: string, when = eachRow) =>
  `${audit} $$ BEGIN ${body}; RETURN coalesce(NEW, OLD); END $$; ${when}`;

const tooMany = 'INSERT has more expressions than target columns';
const gone =
  /column "?(user_profiles\.)?backup_codes"?.* does not exist|record "new" has no field "backup_codes"/;

/** A name, the statements, the server's words, and the oldest server that knows it. */
const breaking: readonly (readonly [string, string, string | RegExp, number?])[] = [
  [
    'the whole row behind other columns',
    `CREATE TABLE audit (operation text, happened timestamptz, LIKE user_profiles);
     CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN INSERT INTO audit SELECT TG_OP, now(), NEW.*; RETURN NULL; END $$; ${eachRow}`,
    tooMany,
  ],
  ['VALUES (OLD.*)', doing('INSERT INTO audit VALUES (OLD.*)'), tooMany],
  [
    'the row as it is read anew',
    doing('INSERT INTO audit SELECT * FROM user_profiles WHERE id = OLD.id'),
    tooMany,
  ],
  ['EXECUTE ... USING', doing("EXECUTE 'INSERT INTO audit SELECT ($1).*' USING NEW"), tooMany],
  [
    'a transition table, by *',
    doing(
      'INSERT INTO audit SELECT * FROM changed',
      fire('AFTER UPDATE ON user_profiles REFERENCING NEW TABLE AS changed FOR EACH STATEMENT'),
    ),
    tooMany,
    10,
  ],
  [
    'a transition table, by name',
    doing(
      'PERFORM backup_codes FROM changed',
      fire('AFTER UPDATE ON user_profiles REFERENCING OLD TABLE AS changed FOR EACH STATEMENT'),
    ),
    gone,
    10,
  ],
  [
    'a trigger of the statement',
    doing(
      'INSERT INTO audit SELECT * FROM user_profiles',
      fire('BEFORE UPDATE ON user_profiles FOR EACH STATEMENT'),
    ),
    tooMany,
  ],
  [
    'a deferred constraint trigger',
    doing(
      'INSERT INTO audit VALUES (NEW.*)',
      'CREATE CONSTRAINT TRIGGER audit AFTER UPDATE ON user_profiles DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE audit()',
    ),
    tooMany,
  ],
  ['a field of the row', doing('IF NEW.backup_codes IS NULL THEN NULL; END IF'), gone],
  [
    'a trigger of another column',
    doing('PERFORM NEW.backup_codes', fire('BEFORE UPDATE OF phone ON user_profiles FOR EACH ROW')),
    gone,
  ],
  [
    'a helper function',
    `CREATE FUNCTION note(profile user_profiles) RETURNS void LANGUAGE plpgsql AS $$
       BEGIN INSERT INTO audit SELECT profile.*; END $$;
     ${doing('PERFORM note(NEW)')}`,
    tooMany,
  ],
  [
    'a helper function that looks into the table',
    `CREATE FUNCTION codes(person bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
       BEGIN RETURN (SELECT backup_codes FROM user_profiles WHERE id = person); END $$;
     ${doing('PERFORM codes(NEW.id)')}`,
    gone,
  ],
  [
    '%TYPE',
    `${audit} $$ DECLARE codes user_profiles.backup_codes%TYPE; BEGIN RETURN NEW; END $$; ${eachRow}`,
    gone,
  ],
  [
    'a mirror by jsonb_populate_record()',
    `CREATE TABLE audit (id bigint, backup_codes jsonb NOT NULL);
     CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN INSERT INTO audit SELECT (jsonb_populate_record(NULL::audit, to_jsonb(NEW))).*; RETURN NULL; END $$;
     ${eachRow}`,
    'a value is refused (23502)',
  ],
];

const everything = () => everythingIn(here().client);
/** A write of the application, in a session of its own: one keeps the plans of a trigger for the shape it has met first. */
const write = () => here().admin.query("UPDATE public.user_profiles SET phone = '2' WHERE id = 1");

/** What a refusal says: by Knex one text, by the script in fields. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const { message, detail, hint }: DatabaseError = await work.then(
    () => Promise.reject(new Error('It was not refused.')),
    (reason) => reason,
  );
  return [message, detail, hint].filter(Boolean).join('\n');
}

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

  test.each(breaking)('refused: %s', async (_name, statements, words, since = 9) => {
    if (serverVersion < since) return;
    await here().client.query(statements);
    const said = await refused();
    const [first = '', second = ''] = said.split('\n');
    expect(first).toMatch(/^user_profiles is left as it was: a write that works would fail from then on: /);
    expect(first).toMatch(words);
    expect(second).toMatch(
      /^Trigger audit, function audit\. The write: UPDATE public\.user_profiles SET id = id, .* WHERE ctid /,
    );
    expect(said).toMatch(/\n(PL\/pgSQL|SQL) function .*audit/);
    expect(said).toMatch(/\nMake the trigger work with both shapes, .*MIGRATION_IGNORE_DEPENDENTS=1/);
    // The old shape is there, and it was no false alarm.
    await write();
    await here().client.query(
      'ALTER TABLE user_profiles DISABLE TRIGGER audit; ALTER TABLE user_profiles ENABLE TRIGGER audit',
    );
  });

  test('refused: a rule, whose function is named', async () => {
    await here().client.query(`
      CREATE FUNCTION codes(person bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
        BEGIN RETURN (SELECT backup_codes FROM user_profiles WHERE id = person); END $$;
      CREATE RULE watched AS ON UPDATE TO user_profiles DO ALSO SELECT codes(OLD.id)`);
    const said = await refused();
    expect(said).toMatch(/would fail from then on: column "backup_codes" does not exist\n/);
    expect(said).toMatch(/PL\/pgSQL function .*codes\(bigint\)/);
  });

  test('... and what is said helps: the row as jsonb goes there and back', async () => {
    await here().client.query(doing('INSERT INTO audit VALUES (NEW.*)'));
    await refused();
    await here().client.query(`
      CREATE TABLE audit_rows (content jsonb);
      CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.audit_rows VALUES (to_jsonb(NEW)); RETURN NULL; END $$`);
    expect(await route.up(here())).not.toContainEqual(expect.stringContaining('write'));
    await write();
    await route.down(here());
    await write();
    // The writes that were tried have left nothing.
    const { rows } = await here().client.query(
      "SELECT content ? 'backup_codes' AS before FROM audit_rows WHERE content ->> 'phone' = '2'",
    );
    expect(rows).toEqual([{ before: false }, { before: true }]);
  });

  test('... or the columns are added to the table that gets the rows', async () => {
    await here().client.query(doing('INSERT INTO audit VALUES (NEW.*)'));
    await refused();
    await here().client.query(`
      ALTER TABLE audit ADD failed_login_attempts integer, ADD account_locked_until timestamptz, ADD password_reset_token text,
        ADD password_reset_token_expires timestamptz, ADD last_password_change timestamptz, ADD email_verified_at timestamptz,
        ADD auth_provider text, ADD external_id text`);
    await route.up(here());
    await write();
  });

  test('a write that fails without the change as well: a warning, and the change is made', async () => {
    await here().client.query(doing('INSERT INTO nowhere VALUES (NEW.*)'));
    expect(await route.up(here())).toContainEqual(
      expect.stringMatching(
        /user_profiles: a write fails without the change as well: relation "nowhere" does not exist\. Trigger audit, function audit\. The write: UPDATE /,
      ),
    );
    await here().client.query('SELECT external_id FROM user_profiles');
  });

  test('a trigger that lets no write through that changes nothing: the same', async () => {
    await here().client.query(doing("IF NEW IS NOT DISTINCT FROM OLD THEN RAISE 'nothing changes'; END IF"));
    expect(await route.up(here())).toContainEqual(
      expect.stringMatching(/a write fails without the change as well: nothing changes/),
    );
    await write();
  });

  test('down: a trigger that reads a column that goes', async () => {
    await route.up(here());
    await here().client.query(doing('PERFORM NEW.external_id'));
    const before = await everything();
    expect(await refusal(route.down(here()))).toMatch(
      /^user_profiles is left as it was: a write that works would fail from then on: record "new" has no field "external_id"\nTrigger audit, function audit\./,
    );
    expect(await everything()).toEqual(before);
    await write();
  });

  test("what a trigger looks up is looked up on the session's own path", async () => {
    const { client, admin, name, owner } = here();
    await client.query('CREATE SCHEMA logs; CREATE TABLE logs.log (entry jsonb)');
    await admin.query(`ALTER ROLE ${owner} IN DATABASE ${name} SET search_path = public, logs`);
    await client.query('SET search_path = public, logs');
    await client.query(doing('INSERT INTO log VALUES (to_jsonb(NEW))'));
    expect(await route.up(here())).not.toContainEqual(expect.stringContaining('write'));
    expect((await client.query('SELECT FROM log')).rows).toEqual([]);
  });

  describe('where the write cannot tell, the text decides', () => {
    const reads = 'PERFORM NEW.backup_codes';
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
      [
        'no row is to be seen',
        `${doing(reads)}; CREATE POLICY own ON user_profiles USING (user_id = 0);
         ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`,
      ],
    ])('refused: %s', async (_name, statements) => {
      await here().client.query(statements);
      expect(await refused()).toMatch(
        /^user_profiles is left as it was: trigger audit on (public\.)?user_profiles: its function (public\.)?audit\(\) has backup_codes in its text, .*MIGRATION_IGNORE_DEPENDENTS=1/,
      );
    });

    test.each([
      ['by another way', "PERFORM to_jsonb(NEW) -> 'backup_codes'"],
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
        /^user_profiles is left as it was: trigger log_changes on (public\.)?user_profiles: its argument names backup_codes, and does not follow the rename/,
      );
      await client.query(logs("'backup_codes', 'mfa_backup_codes'"));
      await route.up(here());
      await write();
      const { rows } = await client.query("SELECT entry ? 'mfa_backup_codes' AS written FROM log");
      expect(rows).toEqual([{ written: false }]);
    });
  });

  test("a table that has this one's row as a column: the server's words, and what to do, helps", async () => {
    await here().client.query('CREATE TABLE changes (old user_profiles, new user_profiles)');
    const said = await refused();
    expect(said).toMatch(
      /^user_profiles is left as it was: cannot alter table "user_profiles" because .*changes/,
    );
    expect(said).toMatch(/\nDrop what uses .* create it anew.*The statement was: ALTER TABLE /);
    await here().client.query('DROP TABLE changes');
    await route.up(here());
    await here().client.query('CREATE TABLE changes (old user_profiles, new user_profiles)');
  });
});

describe('to go on knowingly', () => {
  const ignored: readonly [string, () => Promise<readonly string[]>][] = [
    ['MIGRATION_IGNORE_DEPENDENTS=1', ignoringByKnex],
    ['ignore_dependents in the script', ignoringByScript],
  ];

  test.each(ignored)('%s: a warning, and the writes fail as was said', async (_, up) => {
    await here().client.query(doing('INSERT INTO audit VALUES (NEW.*)'));
    expect(await up()).toContainEqual(
      expect.stringMatching(
        /user_profiles: a write fails from now on: INSERT has more expressions .*Trigger audit/s,
      ),
    );
    await expect(write()).rejects.toThrow(tooMany);
  });

  test.each(ignored)('%s: so where the text decides', async (_, up) => {
    await here().client.query(
      doing('PERFORM NEW.backup_codes', fire('BEFORE INSERT ON user_profiles FOR EACH ROW')),
    );
    expect(await up()).toContainEqual(
      expect.stringMatching(/trigger audit on .* has backup_codes in its text/),
    );
    await here().client.query('SELECT mfa_backup_codes FROM user_profiles');
  });

  async function ignoringByKnex() {
    process.env['MIGRATION_IGNORE_DEPENDENTS'] = '1';
    try {
      return await migrate(here().url, 'up');
    } finally {
      delete process.env['MIGRATION_IGNORE_DEPENDENTS'];
    }
  }

  async function ignoringByScript() {
    const text = readFileSync(join(project, 'sql/add_security_fields.sql'), 'utf8');
    const knowing = text.replace(/(ignore_dependents CONSTANT .*:= )false/, '$1true');
    expect(knowing).not.toBe(text);
    const said: string[] = [];
    const onNotice = ({ message = '' }) => said.push(message);
    here().client.on('notice', onNotice);
    await here().client.query(knowing);
    here().client.off('notice', onNotice);
    return said;
  }
});

test("in somebody's transaction: refused, and the transaction can go on", async () => {
  await here().client.query(doing('INSERT INTO audit VALUES (NEW.*)'));
  const before = await everything();
  const knex = await knexFor(here().url);
  try {
    await knex.transaction(async (trx) => {
      await trx.raw('LOCK TABLE user_profiles IN ACCESS SHARE MODE');
      await trx.raw('SAVEPOINT before');
      await expect(migrateWith(trx, 'up')).rejects.toThrow('a write that works would fail from then on');
      await trx.raw('ROLLBACK TO SAVEPOINT before');
    });
  } finally {
    await knex.destroy();
  }
  expect(await everything()).toEqual(before);
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
      DELETE FROM switched_on WHERE id = (SELECT min(id) FROM switched_on); -- where a row of the other one is
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
