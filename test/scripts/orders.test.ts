import type { Knex } from 'knex';
import type { Client } from 'pg';
import { declaredShape, valuesOf, writeValues } from '../support/application';
import { everythingIn } from '../support/catalog';
import { databasePerTest, loadState, type State, type TestDatabase } from '../support/database';
import { knexFor } from '../support/knex';
import { scripts } from '../support/routes';

/** A table as somebody may have it: one of the states, and what was done to it. A case for each row of the rules. */
const found: Readonly<Record<string, readonly [State, string?]>> = {
  '0015': ['0015'],
  '0015 as described': ['0015-described'],
  'repaired by hand': ['repaired-by-hand'],
  'both names': ['both-names'],
  'both names of one type': ['0015', 'ALTER TABLE user_profiles ADD COLUMN mfa_backup_codes jsonb'],
  'neither name': ['0015', 'ALTER TABLE user_profiles DROP COLUMN backup_codes'],
  'longer varchar, text and bigint': [
    '0015',
    `ALTER TABLE user_profiles ADD COLUMN auth_provider varchar(80), ADD COLUMN external_id text,
       ADD COLUMN failed_login_attempts bigint NOT NULL DEFAULT 0`,
  ],
  'other defaults': [
    '0015',
    `ALTER TABLE user_profiles ADD COLUMN failed_login_attempts integer NOT NULL DEFAULT 5,
       ADD COLUMN auth_provider varchar(50) DEFAULT 'local'`,
  ],
  'nullable, with NULLs, where NOT NULL is wanted': [
    '0015',
    `ALTER TABLE user_profiles ADD COLUMN failed_login_attempts integer;
     UPDATE user_profiles SET failed_login_attempts = 3 WHERE user_id = 3`,
  ],
  'NOT NULL where nullable is wanted': [
    '0015',
    `ALTER TABLE user_profiles ADD COLUMN auth_provider varchar(50) NOT NULL DEFAULT 'local',
       ADD COLUMN last_password_change timestamptz NOT NULL DEFAULT now()`,
  ],
  'a key of another name': ['0015', 'ALTER TABLE user_profiles RENAME COLUMN id TO profile_id'],
  'nothing to do': [
    '0015',
    `ALTER TABLE user_profiles RENAME COLUMN backup_codes TO mfa_backup_codes;
     ALTER TABLE user_profiles ALTER COLUMN mfa_backup_codes DROP NOT NULL,
       ${Object.entries(declaredShape)
         .filter(([name]) => !name.startsWith('email_ver') || name.endsWith('_at'))
         .map(([name, shape]) => `ADD COLUMN ${name} ${shape}`)
         .join(', ')},
       ALTER COLUMN email_verification_token TYPE varchar(255), ALTER COLUMN email_verified SET DEFAULT false`,
  ],
};

/** Tables that neither route touches, and the statement that makes them so. */
const refused: Readonly<Record<string, string>> = {
  'another type': 'ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text',
  'timestamp without time zone': 'ALTER TABLE user_profiles ADD COLUMN account_locked_until timestamp',
  'an identity column':
    'ALTER TABLE user_profiles ALTER COLUMN id DROP IDENTITY, ADD COLUMN failed_login_attempts integer GENERATED ALWAYS AS IDENTITY',
  'another case': 'ALTER TABLE user_profiles ADD COLUMN "External_Id" varchar(255)',
  'a view on a column that is widened':
    'CREATE VIEW tokens AS SELECT user_id, email_verification_token FROM user_profiles',
  'two conflicts':
    'ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text, ADD COLUMN account_locked_until date',
  'no table': 'DROP TABLE user_profiles',
  'a view of that name':
    'ALTER TABLE user_profiles RENAME TO p; CREATE VIEW user_profiles AS SELECT * FROM p',
};

let database: TestDatabase;
let knex: Knex;
let client: Client;
const here = databasePerTest();
beforeEach(async () => {
  for (const way of ['log', 'error'] as const) jest.spyOn(console, way).mockImplementation(() => undefined);
  database = here();
  client = database.client;
  knex = await knexFor(database.url);
});
afterEach(async () => {
  await knex.destroy();
});

const latest = () => knex.migrate.latest();
const down = () => knex.migrate.down();
const add = () => scripts.up(database);
const remove = () => scripts.down(database);
const recorded = async () =>
  (await knex.schema.hasTable('knex_migrations')) ? knex('knex_migrations').pluck('name') : [];
const everything = () => everythingIn(client);

describe.each(Object.entries(found))('%s', (name, [state, more]) => {
  beforeEach(async () => {
    await loadState(client, state);
    if (more) await client.query(more);
  });

  test('one schema and one data, whoever sends the program first, and a second time nothing happens', async () => {
    const before = await everything();
    await add();
    const changed = await everything();
    await add();
    expect(await everything()).toEqual(changed);
    expect(await recorded()).toEqual([]);
    await latest();
    await latest();
    expect(await everything()).toEqual(changed);
    expect(await recorded()).toEqual(['0016_add_security_fields']);

    await down();
    expect(await recorded()).toEqual([]);
    const back = await everything();
    expect(back.schema).toEqual(before.schema);
    // Codes that moved under the new name stay there, as whoever has them may have spent them; so do filled NULLs.
    if (!/both names|NULLs/.test(name)) expect(back.data).toEqual(before.data);
    await down();
    await remove();
    expect(await everything()).toEqual(back);

    await latest();
    expect(await everything()).toEqual(changed);
    await add();
    await latest();
    expect(await everything()).toEqual(changed);
    await remove();
    await remove();
    expect(await everything()).toEqual(back);
    // The script knows nothing of Knex: its record goes with the next down, which finds nothing left to do.
    expect(await recorded()).toEqual(['0016_add_security_fields']);
    await down();
    expect(await recorded()).toEqual([]);
    expect(await everything()).toEqual(back);
  });

  test('what the application has written comes back by either route', async () => {
    const columns = [...Object.keys(declaredShape), 'mfa_backup_codes'];
    await add();
    await writeValues(client);
    const written = await valuesOf(client, columns);
    await remove();
    for (const [there, back] of [
      [latest, remove],
      [add, down], // The record is from latest.
      [latest, down],
      [add, remove],
    ] as const) {
      await there();
      expect(await valuesOf(client, columns)).toEqual(written);
      await back();
    }
    await add();
    expect(await valuesOf(client, columns)).toEqual(written);
  });
});

test('down after the script alone: Knex has recorded nothing, so it takes nothing back', async () => {
  await loadState(client, '0015');
  const before = await everything();
  await add();
  const changed = await everything();
  await down();
  await down();
  expect(await everything()).toEqual(changed);
  await remove();
  expect(await everything()).toEqual(before);
});

test.each(Object.entries(refused))(
  '%s: both refuse, with the same words, and change nothing',
  async (_, sql) => {
    await loadState(client, '0015');
    await client.query(sql);
    const before = await everything();
    const { message, detail, hint, code } = await add().then(
      () => ({ message: 'it was not refused', detail: '', hint: '', code: '' }),
      (error) => error,
    );
    expect(code).toMatch(/^(P0001|0A000|42P01|42809)$/);
    await expect(latest()).rejects.toThrow([message, detail, hint].filter(Boolean).join('\n'));
    expect(await everything()).toEqual(before);
    expect(await recorded()).toEqual([]);
  },
);
