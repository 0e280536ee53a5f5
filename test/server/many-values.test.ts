import { loadProfiles } from '../fire/profiles';
import { valuesOf } from '../support/application';
import { schemaOf } from '../support/catalog';
import { databasePerTest } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, migrateWith, type Route, scripts } from '../support/routes';

// Thousands of rows with values in the columns concerned: all of them go, and all of them come back.
const here = databasePerTest();
const people = 6_000;
const holders = 4_500;

const count = async (what: string) =>
  (await here().client.query(`SELECT count(*)::int AS n FROM ${what}`)).rows[0].n as number;

const digest = async () =>
  (
    await here().client.query(
      `SELECT md5(string_agg(concat_ws('|', id, failed_login_attempts, password_reset_token, account_locked_until,
                                       mfa_backup_codes), ';' ORDER BY id)) AS digest
       FROM user_profiles`,
    )
  ).rows[0].digest as string;

/** Made, with values, and a digest of them. */
async function inUse({ up }: Route): Promise<string> {
  await loadProfiles(here().client, people);
  await up(here());
  await here().client.query(
    `UPDATE user_profiles
     SET failed_login_attempts = id % 5 + 1, password_reset_token = rpad('t' || id, 80, 'x'),
         account_locked_until = timestamptz '2030-01-01' + id * interval '1 s'
     WHERE id <= ${holders}`,
  );
  return digest();
}

describe.each([functions, scripts])('$name', (route) => {
  test('all go into the archive, and come back; nothing is left of it', async () => {
    const values = await inUse(route);
    const schema = await schemaOf(here().client);
    await route.down(here());
    expect(await count('user_profiles_0016_down_archive')).toBe(holders);
    const said = await route.up(here());
    expect(said).toContainEqual(expect.stringMatching(new RegExp(`^UPDATE .* \\(${holders} rows\\)$`)));
    expect(said.at(-1)).toBe('DROP TABLE public.user_profiles_0016_down_archive');
    expect(await digest()).toBe(values);
    expect(await schemaOf(here().client)).toEqual(schema);
  });

  test('from two names of the codes, there and back and there again', async () => {
    const { client } = here();
    await loadProfiles(client, people);
    await client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes jsonb;
      UPDATE user_profiles SET mfa_backup_codes = CASE id % 3 WHEN 0 THEN '["N"]'::jsonb WHEN 1 THEN '[]' END`);
    const before = { schema: await schemaOf(client), codes: await valuesOf(client, ['backup_codes']) };
    await route.up(here());
    await client.query("UPDATE user_profiles SET external_id = rpad('e' || id, 90, 'x')");
    const after = await valuesOf(client, ['mfa_backup_codes', 'external_id']);
    await route.down(here());
    expect(await schemaOf(client)).toEqual(expect.arrayContaining(before.schema));
    expect(await valuesOf(client, ['backup_codes'])).toEqual(before.codes);
    await route.up(here());
    expect(await valuesOf(client, ['mfa_backup_codes', 'external_id'])).toEqual(after);
  });
});

test('where all tables are published, and rows without an identity cannot be deleted', async () => {
  const { admin } = here();
  await admin.query('CREATE PUBLICATION everything FOR ALL TABLES');
  const values = await inUse(functions);
  await functions.down(here());
  await functions.up(here());
  expect(await digest()).toBe(values);
});

test("in Knex's transaction", async () => {
  const values = await inUse(functions);
  const knex = await knexFor(here().url);
  try {
    for (const direction of ['down', 'up'] as const) {
      await knex.transaction(async (trx) => {
        await trx.raw('LOCK TABLE user_profiles');
        await migrateWith(trx, direction);
      });
    }
  } finally {
    await knex.destroy();
  }
  expect(await digest()).toBe(values);
});

test('under forced row-level security', async () => {
  const { client } = here();
  const values = await inUse(functions);
  await client.query('ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
  await functions.down(here());
  await functions.up(here());
  await client.query('ALTER TABLE user_profiles NO FORCE ROW LEVEL SECURITY');
  expect(await digest()).toBe(values);
});

test('where the table has a rule for what is updated', async () => {
  const { client } = here();
  await client.query('CREATE TABLE noted (id bigint)');
  const values = await inUse(functions);
  await client.query(
    'CREATE RULE note AS ON UPDATE TO user_profiles DO ALSO INSERT INTO noted VALUES (NEW.id)',
  );
  await functions.down(here());
  await functions.up(here());
  expect(await digest()).toBe(values);
});
