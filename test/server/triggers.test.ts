import { valuesOf, writeValues } from '../support/application';
import { databasePerTest } from '../support/database';
import { functions, scripts } from '../support/routes';

// The application's own triggers fire for what the change does, and find what they look for on the session's path.
const here = databasePerTest('0015-described');

const audit = `
  CREATE TABLE audit_log (id bigint);
  CREATE FUNCTION note(bigint) RETURNS void LANGUAGE sql AS 'INSERT INTO audit_log VALUES ($1)';
  CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM note(NEW.user_id);
    RETURN NEW;
  END $$;
  CREATE TRIGGER audit AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE audit();`;

describe.each([functions, scripts])('$name', ({ up, down }) => {
  test('an audit trigger: values come back, and it has seen them', async () => {
    const { client } = here();
    await client.query(audit);
    await up(here());
    await writeValues(client);
    const values = await valuesOf(client, ['external_id', 'failed_login_attempts']);
    await down(here());
    await client.query('DELETE FROM audit_log');
    await up(here());
    expect(await valuesOf(client, ['external_id', 'failed_login_attempts'])).toEqual(values);
    const { rows } = await client.query('SELECT count(*)::int AS seen FROM audit_log');
    expect(rows).toEqual([{ seen: 20 }]);
  });

  test('an audit trigger: NULLs are filled', async () => {
    const { client } = here();
    await client.query(audit);
    await client.query('ALTER TABLE user_profiles ADD email_verified boolean');
    await up(here());
    expect(await valuesOf(client, ['email_verified'])).toContainEqual({ user_id: 3, email_verified: false });
  });

  test('an event trigger that writes down what is altered', async () => {
    const { client, admin, owner, name } = here();
    await client.query('CREATE TABLE ddl_log (tag text)');
    await admin.query(`
      CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO ddl_log VALUES (tg_tag); END $$;
      CREATE EVENT TRIGGER log_${name} ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE PROCEDURE public.log_ddl();
      GRANT EXECUTE ON FUNCTION public.log_ddl() TO ${owner}`);
    try {
      await up(here());
      await down(here());
    } finally {
      await admin.query(`DROP EVENT TRIGGER log_${name}; DROP FUNCTION public.log_ddl()`);
    }
    expect((await client.query('SELECT FROM ddl_log')).rows.length).toBeGreaterThan(3);
  });

  test('one that keeps rows as they are: their values stay in the archive, and that is said', async () => {
    const { client } = here();
    await up(here());
    await writeValues(client);
    await down(here());
    await client.query(`
      CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
      CREATE TRIGGER stay BEFORE UPDATE ON user_profiles FOR EACH ROW WHEN (OLD.user_id = 2) EXECUTE PROCEDURE stay()`);
    expect((await up(here())).join()).toMatch(/_down_archive stays: it holds values that are not back/);
    const { rows } = await client.query('SELECT external_id FROM user_profiles_0016_down_archive');
    expect(rows).toEqual([{ external_id: 'external-2' }]);
  });
});
