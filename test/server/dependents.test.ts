import { plan } from '../../migrations/0016_add_security_fields';
import { expectRefusal, schemaOf } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, scripts } from '../support/routes';

// What else names a column that changes: what would stop the change is told in the server's own words, with what to do.
const here = databasePerTest('0015');

const trigger = `
  CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
  CREATE TRIGGER touched BEFORE UPDATE`;

test.each([
  [
    9,
    'a view',
    'CREATE VIEW pending AS SELECT email_verification_token FROM user_profiles',
    /used by a view or rule\nrule _RETURN on view pending depends on column/,
    'DROP VIEW pending',
  ],
  [
    9,
    'a materialized view',
    'CREATE MATERIALIZED VIEW pending AS SELECT email_verification_token FROM user_profiles',
    /used by a view or rule\nrule _RETURN on materialized view pending depends on column/,
    'DROP MATERIALIZED VIEW pending',
  ],
  [
    9,
    'a rule',
    'CREATE RULE kept AS ON UPDATE TO user_profiles WHERE NEW.email_verification_token IS NULL DO INSTEAD NOTHING',
    /used by a view or rule\nrule kept on .* depends on column/,
    'DROP RULE kept ON user_profiles',
  ],
  [
    9,
    'a policy',
    'CREATE POLICY own ON user_profiles USING (email_verification_token IS NULL)',
    /used in a policy definition\npolicy own on .* depends on column/,
    'DROP POLICY own ON user_profiles',
  ],
  [
    9,
    'a trigger of the column',
    `${trigger} OF email_verification_token ON user_profiles FOR EACH ROW EXECUTE PROCEDURE touched()`,
    /used in a trigger definition\ntrigger touched on .* depends on column/,
    'DROP FUNCTION touched() CASCADE',
  ],
  [
    9,
    'a trigger with a condition',
    `${trigger} ON user_profiles FOR EACH ROW WHEN (NEW.email_verification_token IS NULL) EXECUTE PROCEDURE touched()`,
    /used in a trigger definition\ntrigger touched on .* depends on column/,
    'DROP FUNCTION touched() CASCADE',
  ],
  [
    12,
    'a generated column',
    'ALTER TABLE user_profiles ADD pending boolean GENERATED ALWAYS AS (email_verification_token IS NOT NULL) STORED',
    /used by a generated column\nColumn "email_verification_token" is used by generated column "pending"/,
    'ALTER TABLE user_profiles DROP pending',
  ],
  [
    14,
    'a function body in standard SQL',
    'CREATE FUNCTION pending() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(email_verification_token) FROM user_profiles; END',
    /used by a function or procedure\nfunction pending\(\) depends on column/,
    'DROP FUNCTION pending()',
  ],
])(
  'from %i: %s of a column that must be widened: refused, and what is said helps',
  async (since, name, create, words, drop) => {
    if (serverVersion < since) return;
    const { client } = here();
    await client.query(create);
    const knex = await knexFor(here().url);
    const { conflicts } = await plan(knex);
    await knex.destroy();
    // At a generated column the catalog would have to be read in another way; a rehearsal finds it.
    expect(conflicts).toEqual(
      name === 'a generated column'
        ? []
        : [expect.stringContaining(' uses column email_verification_token, ')],
    );
    const up = () => functions.up(here());
    await expectRefusal(client, up, /^user_profiles is left as it was: cannot alter type of a column used /);
    await expectRefusal(client, up, words);
    await expectRefusal(
      client,
      up,
      /\nDrop what uses .* create it anew; by psql in one transaction .*The statement was: ALTER TABLE public\.user_profiles\n/,
    );
    await client.query(`BEGIN; ${drop}`);
    await scripts.up(here());
    await client.query(`${create}; COMMIT`);
  },
);

test('from 15: a column list of a publication: refused, and what is said helps', async () => {
  if (serverVersion < 15) return;
  const { client, admin } = here();
  const create = 'CREATE PUBLICATION part FOR TABLE user_profiles (id, email_verification_token)';
  await admin.query(create);
  await expectRefusal(
    client,
    () => functions.up(here()),
    /^user_profiles is left as it was: cannot alter .*publication.*\n.*publication part.*\nDrop what uses .* create it anew/,
  );
  await admin.query('DROP PUBLICATION part');
  await functions.up(here());
  await admin.query(create);
});

test('an index, a CHECK, statistics, a column grant and a default survive', async () => {
  const { client, admin, name } = here();
  const reader = `${name}_reader`;
  await admin.query(`CREATE ROLE ${reader}`);
  await client.query(`
    CREATE INDEX ON user_profiles (email_verification_token);
    CREATE INDEX ON user_profiles ((backup_codes -> 0));
    ALTER TABLE user_profiles ADD CHECK (jsonb_typeof(backup_codes) = 'array'), ADD CHECK (email_verification_token <> '');
    CREATE VIEW codes AS SELECT backup_codes FROM user_profiles;
    GRANT SELECT (backup_codes, email_verification_token) ON user_profiles TO ${reader}`);
  const before = await schemaOf(client);
  expect(await functions.up(here())).not.toContainEqual(expect.stringContaining('WARNING'));
  expect((await client.query('SELECT backup_codes FROM codes')).rows).toHaveLength(20);
  await functions.down(here());
  expect(await schemaOf(client)).toEqual(before);
  await admin.query(`DROP OWNED BY ${reader}; DROP ROLE ${reader}`);
});

test('down: what would stop it is refused, with what helps; indexes and constraints of a column go with it', async () => {
  const { client } = here();
  await functions.up(here());
  const create = 'CREATE VIEW locked AS SELECT id FROM user_profiles WHERE account_locked_until > now()';
  await client.query(`
    CREATE INDEX by_external_id ON user_profiles (external_id);
    ALTER TABLE user_profiles ADD CONSTRAINT few CHECK (failed_login_attempts < 1000);
    ${create}`);
  const down = () => functions.down(here());
  await expectRefusal(
    client,
    down,
    /^user_profiles is left as it was: cannot drop .*column account_locked_until .*because other objects depend on it\nview locked depends on /,
  );
  await expectRefusal(client, down, /\nDrop what uses .* create it anew.*The statement was: ALTER TABLE /);
  await client.query('DROP VIEW locked');
  await down();
});
