import { databasePerTest, serverVersion } from '../support/database';
import { functions } from '../support/routes';
import { doing, fire, refusal } from '../support/triggers';

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
  ])('refused: %s', async (_, statements) => {
    await here().client.query(statements);
    expect(await refusal(functions.up(here()))).toMatch(
      /its function (public\.)?audit\(\) has a copy of whole rows in its text/,
    );
  });

  test('a warning: one branch of several', async () => {
    const branches = "IF TG_OP = 'DELETE' THEN INSERT INTO audit VALUES (OLD.*); END IF";
    await here().client.query(doing(branches));
    expect((await functions.up(here())).join()).toMatch(
      /WARNING.* has a copy of whole rows in its text, and may fail/,
    );
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
    ['whether it has changed', doing('IF NEW.* IS DISTINCT FROM OLD.* THEN NULL; END IF')],
    [
      'with a table as wide by now',
      `${doing('INSERT INTO audit SELECT NEW.*', fire('AFTER UPDATE ON user_profiles FOR EACH ROW'))};
      ALTER TABLE audit ADD a int, ADD b timestamptz, ADD c text, ADD d timestamptz, ADD e timestamptz, ADD f timestamptz, ADD g text, ADD h text`,
    ],
  ])('not refused: %s', async (_, statements) => {
    const { client } = here();
    await client.query(statements);
    expect((await functions.up(here())).filter((line) => /WARNING|refused/.test(line))).toEqual([]);
  });
});

describe('on the old shape a write fails as well', () => {
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
    // Up to 11 the row is kept in the new shape as well.
    if (serverVersion >= 12)
      expect(await refusal(functions.up(here()))).toContain(`from then on: ${tooMany}`);
    else
      expect((await functions.up(here())).join()).toContain(
        'no write could be tried: a trigger keeps the row as it is',
      );
  });
});

test('a NULL that meets the NOT NULL of the change: refused', async () => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL;
    ${doing("NEW.email_verified := NEW.email_verification_token = ''", fire('BEFORE UPDATE ON user_profiles FOR EACH ROW'), 'NEW')}`);
  expect(await refusal(functions.up(here()))).toContain(
    'a write that works would fail from then on: a value is refused (23502)',
  );
});
