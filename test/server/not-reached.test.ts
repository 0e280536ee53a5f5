import { connect, databasePerTest, serverVersion } from '../support/database';
import { functions, migrate } from '../support/routes';
import { doing, doingOnce, fire, refusal } from '../support/triggers';

// Where the write that is tried (canary.test.ts) does not reach a trigger, or fails on the old shape as well.
const here = databasePerTest('0015');

const tooMany = 'INSERT has more expressions than target columns';

describe('what the write that is tried does not reach is told by the texts', () => {
  const changed = 'AFTER UPDATE ON user_profiles FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)';
  test.each([
    [
      'a row that has changed, as PostgreSQL’s manual has it',
      doing('INSERT INTO audit SELECT OLD.*', fire(changed)),
    ],
    [
      'the same in the function',
      doing('IF NEW IS DISTINCT FROM OLD THEN INSERT INTO audit VALUES (OLD.*); END IF'),
    ],
    [
      'what is deleted',
      doing('INSERT INTO audit SELECT OLD.*', fire('AFTER DELETE ON user_profiles FOR EACH ROW')),
    ],
    [
      'the row as it is read anew',
      doing(
        'INSERT INTO audit SELECT * FROM public.user_profiles p WHERE p.id = NEW.id',
        fire('AFTER INSERT ON user_profiles FOR EACH ROW'),
      ),
    ],
    [
      'a row in parentheses',
      doing('INSERT INTO audit SELECT (OLD).*', fire('AFTER DELETE ON user_profiles FOR EACH ROW')),
    ],
    [
      'a trigger of another table',
      `${doing('NULL', fire('AFTER UPDATE ON user_profiles FOR EACH ROW'))};
       CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO audit SELECT * FROM user_profiles WHERE user_id = OLD.id; RETURN OLD; END $$;
       CREATE TRIGGER gone BEFORE DELETE ON auth_user FOR EACH ROW EXECUTE PROCEDURE gone()`,
    ],
    [
      'one that adds a column',
      `CREATE TABLE trash (LIKE user_profiles); ALTER TABLE trash ADD at timestamptz;
       CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO trash SELECT p.*, now() FROM user_profiles p WHERE p.user_id = OLD.id; RETURN OLD; END $$;
       CREATE TRIGGER gone BEFORE DELETE ON auth_user FOR EACH ROW EXECUTE PROCEDURE gone()`,
    ],
    [
      'errors that nobody is told',
      doing(
        `BEGIN INSERT INTO audit VALUES (NEW.*); EXCEPTION WHEN OTHERS THEN RAISE WARNING 'not audited'; END`,
      ),
    ],
  ])('refused: %s', async (_, statements) => {
    await here().client.query(statements);
    expect(await refusal(functions.up(here()))).toMatch(
      /its function (public\.)?(audit|gone)\(\) has a copy of whole rows .* in its text/,
    );
  });

  (serverVersion >= 10 ? test : test.skip).each([
    ['by *', 'SELECT * FROM removed'],
    ['by an alias, as the manual has it', 'SELECT o.* FROM removed o'],
    ['by name', 'SELECT id, backup_codes FROM removed'],
  ])('refused: a transition table of what is deleted, %s', async (_, rows) => {
    await here().client.query(
      doingOnce(
        `INSERT INTO audit ${rows}`,
        'AFTER DELETE ON user_profiles REFERENCING OLD TABLE AS removed',
      ),
    );
    expect(await refusal(functions.up(here()))).toMatch(
      /has (a copy of whole rows .*|backup_codes) in its text/,
    );
  });

  test.each([
    ['of several', "IF TG_OP = 'DELETE' THEN INSERT INTO audit VALUES (OLD.*); END IF"],
    ['that the row does not take', "IF NEW.role = 'nobody' THEN INSERT INTO audit SELECT NEW.*; END IF"],
  ])('a warning: one branch %s', async (_, branches) => {
    await here().client.query(doing(branches));
    expect((await functions.up(here())).join()).toMatch(
      /WARNING.* has a copy of whole rows .* in its text, and may fail/,
    );
  });

  test('a warning: a copy that is written as a string, of rows that have changed', async () => {
    await here().client.query(
      doing("EXECUTE format('INSERT INTO %I SELECT ($1).*', 'audit') USING OLD", fire(changed)),
    );
    expect((await functions.up(here())).join()).toMatch(/WARNING.* has a copy of whole rows .* in its text/);
  });

  test.each([
    ['the row as json', doing('PERFORM to_jsonb(OLD.*), row_to_json(NEW)', fire(changed))],
    [
      'a look at the table, and no copy',
      doing(
        'IF EXISTS (SELECT * FROM user_profiles WHERE id = NEW.id) THEN INSERT INTO audit (id) VALUES (NEW.id); END IF',
        fire('AFTER INSERT ON user_profiles FOR EACH ROW'),
      ),
    ],
    [
      'rows that are sent to a child',
      `CREATE TABLE child () INHERITS (user_profiles);
       ${doing('INSERT INTO child VALUES (NEW.*)', fire('BEFORE INSERT ON user_profiles FOR EACH ROW'), 'NULL')}`,
    ],
    ['whether it has changed', doing('IF NEW.* IS DISTINCT FROM OLD.* THEN NULL; END IF')],
    [
      'a row of the type of the log itself, as the most copied audit trigger has it',
      `CREATE TABLE logged (operation text, entry jsonb);
       CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
       DECLARE audit_row public.logged; BEGIN
         audit_row := ROW(TG_OP, to_jsonb(NEW));
         IF NOT TG_OP IS DISTINCT FROM 'UPDATE' THEN INSERT INTO public.logged VALUES (audit_row.*); END IF; RETURN NULL; END $$;
       ${fire('AFTER UPDATE ON user_profiles FOR EACH ROW')}`,
    ],
    [
      'rows of another table',
      `CREATE TABLE defaults (kind text); CREATE TABLE settings (person bigint, kind text);
       ${doing('INSERT INTO settings SELECT NEW.id, d.* FROM defaults d', fire('AFTER INSERT ON user_profiles FOR EACH ROW'))}`,
    ],
    [
      'a copy in a function that has the new name, too',
      doing(
        'INSERT INTO audit SELECT OLD.* /* wide enough for mfa_backup_codes, external_id, ... */',
        fire('AFTER DELETE ON user_profiles FOR EACH ROW'),
      ),
    ],
  ])('not refused: %s', async (_, statements) => {
    const { client } = here();
    await client.query(statements);
    expect((await functions.up(here())).filter((line) => /WARNING|refused/.test(line))).toEqual([]);
  });
});

test('a table as wide by now: a warning of open sessions', async () => {
  await here().client.query(`${doing('INSERT INTO audit SELECT NEW.*', fire('AFTER UPDATE ON user_profiles FOR EACH ROW'))};
    ALTER TABLE audit ADD a int, ADD b timestamptz, ADD c text, ADD d timestamptz, ADD e timestamptz, ADD f timestamptz, ADD g text, ADD h text`);
  const warnings = (await functions.up(here())).filter((line) => /WARNING|refused/.test(line));
  expect(warnings).toEqual([
    expect.stringMatching(/\(open sessions keep the old columns until its CREATE OR REPLACE\)/),
  ]);
});

test('an argument that names a column which goes, and is not renamed: a warning', async () => {
  const { client } = here();
  await functions.up(here());
  await client.query(
    doing(
      'NULL',
      "CREATE TRIGGER audit AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE audit('password_reset_token')",
    ),
  );
  expect((await functions.down(here())).join()).toMatch(
    /WARNING.*: its argument names password_reset_token, and does not follow the change/,
  );
});

test('rows that row-level security hides: the write is tried on them', async () => {
  const hidden = `CREATE POLICY own ON user_profiles USING (user_id = 0);
    ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`;
  await here().client.query(`${doing('PERFORM NEW.backup_codes')}; ${hidden}`);
  expect(await refusal(functions.up(here()))).toMatch(/would fail from then on: record "new" has no field/);
});

describe('on the old shape a write fails as well', () => {
  test('of rows that row-level security hides: a warning', async () => {
    const { client } = here();
    await client.query(`${doing("PERFORM current_setting('app.user_id') || NEW.id")};
      CREATE POLICY own ON user_profiles USING (user_id = 0);
      ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`);
    expect((await functions.up(here())).join()).toContain('a write fails without the change as well: ');
  });

  test('and so does what fills NULLs: what is said helps', async () => {
    const { client, url } = here();
    await client.query(`ALTER TABLE user_profiles ADD failed_login_attempts integer;
      ${doing("PERFORM current_setting('app.user_id') || NEW.id")}`);
    const said = await refusal(functions.up(here()));
    expect(said).toContain(
      `Where a trigger wants a setting: PGOPTIONS='-c app.user_id=0'. The statement was: UPDATE `,
    );
    const options = /PGOPTIONS='(.*?)'/.exec(said)?.[1] ?? '';
    await migrate(`${url}?options=${encodeURIComponent(options)}`, 'up');
  });

  test('of a row that others write all the time: a warning', async () => {
    const { client, url } = here();
    await client.query(doing("PERFORM current_setting('app.user_id', TG_OP <> 'UPDATE') || NEW.id"));
    const other = await connect(url);
    await other.query("SET app.user_id = '1'");
    let isOver = false;
    const writing = (async () => {
      while (!isOver) await other.query('UPDATE user_profiles SET phone = phone WHERE id = 20');
    })();
    const said = await functions.up(here());
    isOver = true;
    await writing;
    await other.end();
    expect(said.join()).toContain('a write fails without the change as well: ');
  });

  test('with another error: that of the new one counts', async () => {
    const { client } = here();
    await client.query(`${doing('INSERT INTO audit VALUES (NEW.*)', fire('BEFORE UPDATE ON user_profiles FOR EACH ROW'))};
      CREATE FUNCTION z() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.updated_at = OLD.updated_at THEN RAISE 'a write without updated_at'; END IF; RETURN NEW; END $$;
      CREATE TRIGGER z BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE z()`);
    expect(await refusal(functions.up(here()))).toContain(
      `a write would fail in another way from then on: ${tooMany}`,
    );
  });

  test('with an assertion, which no WHEN OTHERS catches: a warning', async () => {
    await here().client.query(doing("ASSERT NEW IS DISTINCT FROM OLD, 'nothing changes'"));
    expect((await functions.up(here())).join()).toContain(
      'a write fails without the change as well: nothing changes',
    );
  });

  test('or a trigger keeps the row as it is: refused, and not tried for ever', async () => {
    await here().client.query(`${doing('INSERT INTO audit VALUES (NEW.*)')};
      CREATE TRIGGER as_it_is BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE suppress_redundant_updates_trigger()`);
    // Up to 11 the row is kept in the new shape as well, and the text decides.
    const words = serverVersion >= 12 ? `from then on: ${tooMany}` : 'a copy of whole rows';
    expect(await refusal(functions.up(here()))).toContain(words);
  });
});

test('a trigger keeps every row as it is, and no text says that something would break: said, and made', async () => {
  await here().client.query(doing('NULL', fire('BEFORE UPDATE ON user_profiles FOR EACH ROW'), 'NULL'));
  expect(await functions.up(here())).toContain(
    'WARNING: user_profiles: no write could be tried: a trigger keeps the row as it is, or there is none',
  );
  await here().client.query('SELECT external_id FROM user_profiles');
});

test('a NULL that meets the NOT NULL of the change: refused', async () => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL;
    ${doing("NEW.email_verified := NEW.email_verification_token = ''", fire('BEFORE UPDATE ON user_profiles FOR EACH ROW'), 'NEW')}`);
  expect(await refusal(functions.up(here()))).toContain(
    'a write that works would fail from then on: a value is refused (23502 email_verified)',
  );
});
