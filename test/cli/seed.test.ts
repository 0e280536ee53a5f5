import { databasePerTest, loadState } from '../support/database';
import { knexCommand } from '../support/knex';

const database = databasePerTest();

function seed(env = {}) {
  return knexCommand(['seed:run'], { DATABASE_URL: database().url, SEED: '1', ...env });
}

async function profiles() {
  const { rows } = await database().client.query(
    'SELECT to_jsonb(p) AS profile FROM user_profiles p ORDER BY id',
  );
  return rows.map(({ profile }) => profile);
}

test('makes the tables as the application leaves them, with people in them', async () => {
  expect(await seed()).toMatchObject({ code: 0, stderr: '' });
  const columns = `SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default,
                          is_identity, ordinal_position
                   FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`;
  const { rows: seeded } = await database().client.query(columns);
  await database().client.query('DROP TABLE user_profiles, auth_user');
  await loadState(database().client, '0015');
  expect(seeded).toEqual((await database().client.query(columns)).rows);
});

test('with and without MFA, with codes and without, and with a token', async () => {
  await seed();
  const people = await profiles();
  expect(people).toContainEqual(
    expect.objectContaining({ mfa_enabled: true, backup_codes: ['A1B2-C3D4', 'E5F6-G7H8'] }),
  );
  expect(people).toContainEqual(expect.objectContaining({ mfa_enabled: true, backup_codes: [] }));
  expect(people).toContainEqual(expect.objectContaining({ mfa_enabled: false, backup_codes: [] }));
  expect(people).toContainEqual(expect.objectContaining({ email_verification_token: expect.any(String) }));
});

test('a second time it changes nothing, before the migration and after it', async () => {
  await seed();
  await database().client.query("UPDATE user_profiles SET phone = '1'");
  const before = await profiles();
  expect(await seed()).toMatchObject({ code: 0 });
  expect(await profiles()).toEqual(before);

  await knexCommand(['migrate:latest'], { DATABASE_URL: database().url });
  const after = await profiles();
  expect(await seed()).toMatchObject({ code: 0, stderr: '' });
  expect(await profiles()).toEqual(after);
});

test('after the migration it fills what is empty', async () => {
  await seed();
  await knexCommand(['migrate:latest'], { DATABASE_URL: database().url });
  const before = await profiles();
  await database().client.query('DELETE FROM user_profiles');
  expect(await seed()).toMatchObject({ code: 0, stderr: '' });
  const codes = (people: { mfa_backup_codes: unknown }[]) =>
    people.map(({ mfa_backup_codes }) => mfa_backup_codes);
  expect(codes(await profiles())).toEqual(codes(before));
});

test('in production it refuses, in one line', async () => {
  const { code, stderr } = await seed({ NODE_ENV: 'production' });
  expect(code).toBe(1);
  expect(stderr).toBe('Sample people are for development: nothing is seeded with NODE_ENV=production.\n');
});

test('what latest says where nothing is, followed', async () => {
  const env = { DATABASE_URL: database().url };
  expect(await knexCommand(['migrate:latest'], env)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('not in production: SEED=1 npx knex seed:run'),
  });
  // Nobody's database gets tables of ours unasked.
  expect(await seed({ SEED: undefined })).toEqual({
    code: 1,
    stdout: expect.any(String),
    stderr:
      'Sample tables and people are for the embedded server, and a database is configured: nothing is seeded.\n' +
      'Is it one to try things in? Then set SEED=1 in the environment, and run it again.\n',
  });
  const { rows } = await database().client.query(`SELECT to_regclass('user_profiles') AS name`);
  expect(rows).toEqual([{ name: null }]);
  expect(await seed()).toMatchObject({ code: 0, stderr: '' });
  expect(await knexCommand(['migrate:latest'], env)).toMatchObject({ code: 0, stderr: '' });
});

test('a database with people of its own stays as it is', async () => {
  await loadState(database().client, '0015');
  const before = await profiles();
  const { code, stderr } = await seed();
  expect(code).toBe(1);
  expect(stderr).toMatch(/^Error: .* seed: nothing is seeded\.\nThis database has people of its own\.\n+$/);
  expect(await profiles()).toEqual(before);
});
