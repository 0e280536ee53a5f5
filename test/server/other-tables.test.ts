import { databasePerTest } from '../support/database';
import { functions, scripts } from '../support/routes';
import { refusal } from '../support/triggers';

// Which table is meant by the text of a trigger on another one: only what writes the changed table is refused.
const here = databasePerTest('0015');

describe('a trigger of another table', () => {
  const write = (place: string, body: string) => `
    CREATE SCHEMA tenant; CREATE TABLE tenant.user_profiles (LIKE user_profiles);
    CREATE TABLE user_profiles_history (LIKE user_profiles); CREATE TABLE ${place} (id int);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body}; RETURN NEW; END $$;
    CREATE TRIGGER audit AFTER INSERT ON ${place} FOR EACH ROW EXECUTE PROCEDURE audit()`;

  test.each([
    ['of another name', write('signups', "INSERT INTO user_profiles_history (backup_codes) VALUES ('[]')")],
    ['of another schema', write('signups', "INSERT INTO tenant.user_profiles (backup_codes) VALUES ('[]')")],
  ])('a warning: it writes a table %s', async (_, statements) => {
    await here().client.query(statements);
    expect((await functions.up(here())).join()).toContain('has backup_codes in its text, and may fail');
  });

  test('nothing: it means the table of its own schema', async () => {
    await here().client.query(`
      ${write('tenant.signups', "INSERT INTO user_profiles (backup_codes) VALUES ('[]')")};
      CREATE TRIGGER audit AFTER INSERT ON tenant.user_profiles FOR EACH ROW EXECUTE PROCEDURE audit()`);
    expect((await functions.up(here())).join()).not.toContain('WARNING');
  });

  test('in a schema whose name is no regular expression', async () => {
    const { client } = here();
    await client.query(`${write('signups', `INSERT INTO "a+b"."user_profiles" (backup_codes) VALUES ('[]')`)};
      CREATE SCHEMA "a+b"; ALTER TABLE user_profiles SET SCHEMA "a+b"; SET search_path = "a+b", public`);
    expect(await refusal(scripts.up(here()))).toContain('has backup_codes in its text, and may fail');
  });

  test('on the way back: the new name alone is not both', async () => {
    const { client } = here();
    await functions.up(here());
    await client.query(write('signups', "INSERT INTO user_profiles (mfa_backup_codes) VALUES ('[]')"));
    await client.query(`CREATE FUNCTION reads() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM NEW.mfa_backup_codes; RETURN NEW; END';
      CREATE TRIGGER reads BEFORE INSERT ON user_profiles FOR EACH ROW EXECUTE PROCEDURE reads()`);
    const said = await refusal(functions.down(here()));
    expect(said).toMatch(
      /trigger audit on public.signups: its function public.audit\(\) has mfa_backup_codes in its text/,
    );
    expect(said).toMatch(
      /trigger reads on public.user_profiles: its function public.reads\(\) has mfa_backup_codes in its text/,
    );
  });

  test.each([
    ['in the same schema', write('signups', "INSERT INTO user_profiles (backup_codes) VALUES ('[]')")],
    [
      'from another schema',
      write('tenant.signups', "INSERT INTO public.user_profiles (backup_codes) VALUES ('[]')"),
    ],
    [
      'in quotes',
      write('tenant.signups', `INSERT INTO "public"."user_profiles" (backup_codes) VALUES ('[]')`),
    ],
  ])('refused: it writes this one, %s', async (_, statements) => {
    await here().client.query(statements);
    expect(await refusal(functions.up(here()))).toContain('has backup_codes in its text, and may fail');
  });
});
