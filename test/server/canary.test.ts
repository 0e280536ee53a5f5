import { everythingIn } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, migrateWith, type Route, scripts } from '../support/routes';
import { doing, doingOnce, eachRow, fire, ignoring, refusal } from '../support/triggers';

// Writes that would fail from then on: found by trying one, and refused.
const here = databasePerTest('0015');

const tooMany = 'INSERT has more expressions than target columns';
const gone =
  /column "?(user_profiles\.)?backup_codes"?.* does not exist|record "new" has no field "backup_codes"/;

/** A name, the statements, the server's words, and the oldest server that knows it. */
const breaking: [name: string, statements: string, words: string | RegExp, since?: number][] = [
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
    doingOnce(
      'INSERT INTO audit SELECT * FROM changed',
      'AFTER UPDATE ON user_profiles REFERENCING NEW TABLE AS changed',
    ),
    tooMany,
    10,
  ],
  [
    'a transition table, by name',
    doingOnce(
      'PERFORM backup_codes FROM changed',
      'AFTER UPDATE ON user_profiles REFERENCING OLD TABLE AS changed',
    ),
    gone,
    10,
  ],
  [
    'a trigger of the statement',
    doingOnce('INSERT INTO audit SELECT * FROM user_profiles', 'BEFORE UPDATE ON user_profiles'),
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
    `CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
       DECLARE codes user_profiles.backup_codes%TYPE; BEGIN RETURN NEW; END $$; ${eachRow}`,
    /backup_codes|syntax error at or near "%"/, // each server has words of its own
  ],
  [
    'a mirror by jsonb_populate_record()',
    `CREATE TABLE audit (id bigint, backup_codes jsonb NOT NULL);
     CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN INSERT INTO audit SELECT (jsonb_populate_record(NULL::audit, to_jsonb(NEW))).*; RETURN NULL; END $$;
     ${eachRow}`,
    'a value is refused (23502 backup_codes)',
  ],
];

const everything = () => everythingIn(here().client);
/** A write of the application, in a session of its own: one keeps the plans of a trigger for the shape it has met first. */
const write = () => here().admin.query("UPDATE public.user_profiles SET phone = '2' WHERE id = 1");

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

  test.each<(typeof breaking)[number]>(breaking)(
    'refused: %s',
    async (_name, statements, words, since = 9) => {
      if (serverVersion < since) return;
      await here().client.query(statements);
      const said = await refused();
      const [first = '', second = ''] = said.split('\n');
      expect(first).toMatch(/^user_profiles is left as it was: a write that works would fail from then on: /);
      expect(first).toMatch(words);
      expect(second).toMatch(
        /^Trigger audit, function audit\. The write: UPDATE public\.user_profiles SET id = id, .* WHERE \(tableoid, ctid\) /,
      );
      expect(said).toMatch(/\n.*(PL\/pgSQL|SQL) function .*audit/);
      expect(said).toMatch(/\nMake the trigger work with both shapes, .*MIGRATION_IGNORE_DEPENDENTS=1/);
      // The old shape is there, and it was no false alarm.
      await write();
    },
  );

  test.each([
    [
      'the NULLs that are filled fire it on the old shape',
      'ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL; UPDATE user_profiles SET email_verified = NULL',
      '',
    ],
    ['this session has written before', '', "UPDATE user_profiles SET phone = '1' WHERE id = 1"],
  ])('refused, though the plan of a trigger is kept: %s', async (_name, before, after) => {
    await here().client.query(`${before}; ${doing('INSERT INTO audit VALUES (NEW.*)')}; ${after}`);
    expect(await refused()).toContain(tooMany);
  });

  test('refused: a function whose name is no regular expression', async () => {
    await here().client.query(`CREATE FUNCTION "audit [v2"() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM NEW.backup_codes; RETURN NEW; END $$;
      CREATE TRIGGER audit BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE "audit [v2"()`);
    expect(await refused()).toMatch(/has no field "backup_codes"\nTrigger audit, function audit \[v2\./);
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
    const { client } = here();
    await client.query(doing('INSERT INTO audit VALUES (NEW.*)'));
    expect(await refused()).toMatch(/\nMake .* run this again, and CREATE OR REPLACE its function: /);
    await client.query(`
      ALTER TABLE audit ADD failed_login_attempts integer, ADD account_locked_until timestamptz, ADD password_reset_token text,
        ADD password_reset_token_expires timestamptz, ADD last_password_change timestamptz, ADD email_verified_at timestamptz,
        ADD auth_provider text, ADD external_id text`);
    // This session goes on with the columns of NEW.* that it meets now.
    await client.query('UPDATE user_profiles SET phone = $1 WHERE id = 2', ['1']);
    await route.up(here());
    await write();
    await client.query(`CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO audit VALUES (NEW.*); RETURN coalesce(NEW, OLD); END $$`);
    await client.query("UPDATE user_profiles SET external_id = 'new' WHERE id = 2");
    const { rows } = await client.query('SELECT external_id FROM audit WHERE id = 2 ORDER BY ctid');
    expect(rows).toEqual([{ external_id: null }, { external_id: 'new' }]);
  });

  test('a write that fails without the change as well: a warning, and the change is made', async () => {
    await here().client.query(doing('PERFORM FROM nowhere'));
    expect(await route.up(here())).toContainEqual(
      expect.stringMatching(
        /user_profiles: a write fails without the change as well: relation "nowhere" does not exist\. Trigger audit, function audit\. The write: UPDATE /,
      ),
    );
    await here().client.query('SELECT external_id FROM user_profiles');
  });

  test.each([
    [
      'it fails for another reason',
      doing(`PERFORM current_setting('app.user_id'); INSERT INTO audit VALUES (NEW.*)`),
    ],
    [
      'it is kept back',
      `${doing('INSERT INTO audit VALUES (NEW.*)')};
       CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
       CREATE TRIGGER a_first BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE keep()`,
    ],
  ])('the write that is tried cannot tell, and the texts decide: %s', async (_name, statements) => {
    await here().client.query(statements);
    expect(await refused()).toMatch(/trigger audit on .* has a copy of whole rows .* in its text/);
  });

  test('a trigger that lets no write through that changes nothing: the same', async () => {
    await here().client.query(doing("IF NEW IS NOT DISTINCT FROM OLD THEN RAISE 'nothing changes'; END IF"));
    expect(await route.up(here())).toContainEqual(
      expect.stringMatching(/a write fails without the change as well: nothing changes/),
    );
    await write();
  });

  test('a trigger that fails while values come back: the server says why, and nothing is advised that would not help', async () => {
    const { client } = here();
    await route.up(here());
    await client.query("UPDATE user_profiles SET external_id = 'x'");
    await route.down(here());
    await client.query(doing('INSERT INTO audit VALUES (NEW.*)'));
    const said = await refused();
    expect(said).toContain(tooMany);
    expect(said).not.toContain('Drop what uses');
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

test.each(ignoring)('%s: a warning, and the writes fail as was said', async (_, up) => {
  await here().client.query(doing('INSERT INTO audit VALUES (NEW.*)'));
  expect(await up(here())).toContainEqual(
    expect.stringMatching(
      /user_profiles: a write fails from now on: INSERT has more expressions .*Trigger audit/s,
    ),
  );
  await expect(write()).rejects.toThrow(tooMany);
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
