import { plan } from '../../migrations/0016_add_security_fields';
import { valuesOf, writeValues } from '../support/application';
import { schemaOf } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions } from '../support/routes';

// Archives carry the table's own primary key, whatever it is called and however many columns it has.
const here = databasePerTest('0015-described');
const columns = ['failed_login_attempts', 'password_reset_token', 'external_id', 'email_verified'];

const withoutKey = 'ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey';

test.each([
  ['profile_id', 'ALTER TABLE user_profiles RENAME id TO profile_id'],
  [
    'a text key',
    `${withoutKey}; ALTER TABLE user_profiles ALTER id DROP IDENTITY; ALTER TABLE user_profiles ALTER id TYPE text USING 'p''%' || id, ADD PRIMARY KEY (id)`,
  ],
  [
    'several columns',
    `${withoutKey}; ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_user_id_key, ADD PRIMARY KEY (role, user_id)`,
  ],
  [
    'an enum, for which somebody has an operator = of his own',
    `DO $$ BEGIN EXECUTE format('CREATE TYPE pid AS ENUM (%s)', (SELECT string_agg(quote_literal('p' || id), ', ') FROM user_profiles)); END $$;
     ALTER TABLE user_profiles ALTER id DROP IDENTITY; ALTER TABLE user_profiles ALTER id TYPE pid USING ('p' || id)::pid;
     CREATE FUNCTION same(pid, pid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
     CREATE OPERATOR = (PROCEDURE = same, LEFTARG = pid, RIGHTARG = pid)`,
  ],
  ['a name that needs quoting', 'ALTER TABLE user_profiles RENAME id TO "Profile ""Id"" %s"'],
  ...(serverVersion >= 11
    ? [
        [
          'an index with more columns than the key',
          `${withoutKey}; UPDATE user_profiles SET phone = NULL; ALTER TABLE user_profiles ADD PRIMARY KEY (id) INCLUDE (phone)`,
        ],
      ]
    : []),
])('%s: every value comes back', async (_, prepared) => {
  const { client } = here();
  await client.query(prepared);
  const before = await schemaOf(client);
  await functions.up(here());
  await writeValues(client);
  const values = await valuesOf(client, columns);
  await functions.down(here());
  expect((await schemaOf(client)).filter((line) => !line.includes('_down_archive'))).toEqual(before);
  const said = await functions.up(here());
  expect(await valuesOf(client, columns)).toEqual(values);
  expect(said).toContainEqual(
    expect.stringMatching(
      /^UPDATE public\.user_profiles t SET .* FROM \(SELECT \* FROM public\.user_profiles_0016_down_archive\) .* \(20 rows\)$/,
    ),
  );
});

test('a type of an extension: every value comes back', async () => {
  const { client, admin } = here();
  await admin.query('CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC');
  await admin.query('CREATE EXTENSION ltree SCHEMA elsewhere');
  try {
    await client.query(
      `${withoutKey}; ALTER TABLE user_profiles ALTER id DROP IDENTITY;
       ALTER TABLE user_profiles ALTER id TYPE elsewhere.ltree USING ('p' || id)::elsewhere.ltree, ADD PRIMARY KEY (id)`,
    );
    await functions.up(here());
    await writeValues(client);
    const values = await valuesOf(client, columns);
    await functions.down(here());
    await functions.up(here());
    expect(await valuesOf(client, columns)).toEqual(values);
  } finally {
    await client.query('DROP TABLE IF EXISTS user_profiles CASCADE');
    await admin.query('DROP SCHEMA elsewhere CASCADE');
  }
});

describe('no primary key', () => {
  test('taken back where there is no value to lose', async () => {
    const { client } = here();
    await client.query(withoutKey);
    const before = await schemaOf(client);
    await functions.up(here());
    await functions.down(here());
    expect(await schemaOf(client)).toEqual(before);
  });

  test('refused where there is one, with the reason', async () => {
    const { client } = here();
    await client.query(withoutKey);
    await functions.up(here());
    await client.query("UPDATE user_profiles SET external_id = 'x' WHERE user_id = 7");
    const before = await schemaOf(client);
    await expect(functions.down(here())).rejects.toThrow(
      /^user_profiles is left as it was: values would be dropped with .*external_id, and the table has no primary key by which they could come back\nAdd a primary key without these, or save and clear the values until this is false: SELECT EXISTS .*/,
    );
    expect(await schemaOf(client)).toEqual(before);
    expect(await valuesOf(client, ['external_id'])).toContainEqual({ user_id: 7, external_id: 'x' });
    // As it says.
    await client.query('ALTER TABLE user_profiles ADD PRIMARY KEY (id)');
    await functions.down(here());
  });

  test.each([
    ['a column that goes is in it', '(user_id, external_id)', 10],
    ['it includes one', '(user_id) INCLUDE (external_id)', 11],
  ])('as good as none, since it would go, too: %s', async (_name, key, since) => {
    if (serverVersion < since) return;
    const { client } = here();
    await client.query(withoutKey);
    await functions.up(here());
    await client.query(
      `UPDATE user_profiles SET external_id = user_id; ALTER TABLE user_profiles ADD PRIMARY KEY ${key}`,
    );
    await expect(functions.down(here())).rejects.toThrow(
      /no primary key by which they could come back\nAdd a primary key without these/,
    );
  });

  test('two names with values to archive: refused', async () => {
    const { client } = here();
    await client.query(`${withoutKey}; ALTER TABLE user_profiles ADD mfa_backup_codes text`);
    await client.query('UPDATE user_profiles SET mfa_backup_codes = \'["NEW"]\' WHERE user_id = 4');
    const before = await schemaOf(client);
    const said = await functions.up(here()).catch(({ message }: Error) => message);
    expect(said).toContain('values would be dropped with backup_codes');
    expect(await schemaOf(client)).toEqual(before);
    // As it says.
    const isHeld = /until this is false: (SELECT EXISTS .*)/.exec(String(said))?.[1] ?? '';
    await client.query("UPDATE user_profiles SET backup_codes = coalesce(mfa_backup_codes, '[]')::jsonb");
    expect((await client.query(isHeld)).rows).toEqual([{ exists: false }]);
    await functions.up(here());
  });

  test('lost since: the archive stays, and that is said', async () => {
    const { client } = here();
    await functions.up(here());
    await writeValues(client);
    await functions.down(here());
    await client.query(withoutKey);
    expect(await functions.up(here())).toContainEqual(
      expect.stringMatching(
        /user_profiles_0016_down_archive stays: its key is no longer the table's, so nothing came back/,
      ),
    );
    expect((await client.query('SELECT * FROM user_profiles_0016_down_archive')).rows).toHaveLength(20);
  });
});

const newest = serverVersion >= 18 ? test : test.skip;
newest('WITHOUT OVERLAPS, by which two rows are one: as without a key', async () => {
  const { client, admin } = here();
  await admin.query('CREATE EXTENSION btree_gist');
  await client.query(`${withoutKey};
    ALTER TABLE user_profiles ADD r int4range, ADD v daterange DEFAULT daterange('2020-01-01', NULL);
    UPDATE user_profiles SET r = int4range(id::int * 3, id::int * 3 + 3);
    ALTER TABLE user_profiles ADD PRIMARY KEY (r, v WITHOUT OVERLAPS)`);
  await functions.up(here());
  await writeValues(client);
  await expect(functions.down(here())).rejects.toThrow(
    'and the table has no primary key by which they could',
  );
});

test('a wider key since: every value comes back', async () => {
  const { client } = here();
  await client.query('ALTER TABLE user_profiles ALTER id TYPE integer');
  await functions.up(here());
  await writeValues(client);
  const values = await valuesOf(client, columns);
  await functions.down(here());
  await client.query('ALTER TABLE user_profiles ALTER id TYPE bigint');
  await functions.up(here());
  expect(await valuesOf(client, columns)).toEqual(values);
});

test('another key since: plan warns, and what is said helps', async () => {
  const { client, url } = here();
  await functions.up(here());
  await writeValues(client);
  const values = await valuesOf(client, columns);
  await functions.down(here());
  await client.query('ALTER TABLE user_profiles RENAME id TO profile_id');
  const knex = await knexFor(url);
  expect((await plan(knex)).warnings).toContainEqual(
    expect.stringMatching(
      /: nothing of public\.user_profiles_0016_down_archive would come back\. Before, give/,
    ),
  );
  await knex.destroy();
  await client.query('ALTER TABLE user_profiles_0016_down_archive RENAME id TO profile_id');
  await functions.up(here());
  const back = await valuesOf(client, columns);
  expect(back.map((row) => Object.values(row))).toEqual(values.map((row) => Object.values(row)));
});

test('another key since: the archive stays, and that is said', async () => {
  const { client } = here();
  await functions.up(here());
  await writeValues(client);
  await functions.down(here());
  await client.query('ALTER TABLE user_profiles RENAME id TO profile_id');
  expect(await functions.up(here())).toContainEqual(
    expect.stringMatching(/user_profiles_0016_down_archive stays: /),
  );
  expect((await client.query('SELECT * FROM user_profiles_0016_down_archive')).rows).toHaveLength(20);
});

test.each([
  [
    'children had the same ids, and inherit no more',
    `CREATE TABLE former_profiles () INHERITS (user_profiles);
     INSERT INTO former_profiles SELECT * FROM user_profiles WHERE id <= 10`,
    'ALTER TABLE former_profiles NO INHERIT user_profiles',
  ],
  [
    'it had one column more',
    `${withoutKey}, DROP CONSTRAINT user_profiles_user_id_key, DROP CONSTRAINT user_profiles_user_id_fkey,
       ADD tenant integer NOT NULL DEFAULT 1;
     INSERT INTO user_profiles SELECT (jsonb_populate_record(p, '{"tenant": 2}')).* FROM user_profiles p;
     ALTER TABLE user_profiles ADD PRIMARY KEY (tenant, id)`,
    `${withoutKey}; DELETE FROM user_profiles WHERE tenant = 2; ALTER TABLE user_profiles ADD PRIMARY KEY (id)`,
  ],
])('a key that is not all of the key at that time, as %s: nobody gets values of others', async (...given) => {
  const [, prepared, since] = given;
  const { client } = here();
  await client.query(prepared);
  await functions.up(here());
  await writeValues(client);
  await client.query("UPDATE user_profiles SET external_id = concat(tableoid::regclass, ctid, '-', id)");
  await functions.down(here());
  await client.query(since);
  const { rows: archived } = await client.query('SELECT * FROM user_profiles_0016_down_archive');
  expect(await functions.up(here())).toContainEqual(
    expect.stringMatching(
      /user_profiles_0016_down_archive stays: its key is no longer the table's, so nothing came back/,
    ),
  );
  expect((await client.query('SELECT * FROM user_profiles_0016_down_archive')).rows).toEqual(archived);
  const { rows } = await client.query('SELECT external_id FROM user_profiles WHERE external_id IS NOT NULL');
  expect(rows).toEqual([]);
});

test('another type since: values that do not fit stay in the archive, and that is said', async () => {
  const { client } = here();
  await functions.up(here());
  await writeValues(client);
  await client.query(
    'ALTER TABLE user_profiles ALTER failed_login_attempts DROP DEFAULT, ALTER failed_login_attempts TYPE text',
  );
  await functions.down(here());
  expect(await functions.up(here())).toContainEqual(
    expect.stringMatching(/user_profiles_0016_down_archive stays: /),
  );
  const { rows } = await client.query(
    "SELECT failed_login_attempts, external_id FROM user_profiles_0016_down_archive WHERE failed_login_attempts = '9'",
  );
  expect(rows).toEqual([{ failed_login_attempts: '9', external_id: null }]);
  expect(await valuesOf(client, ['external_id'])).toContainEqual({ user_id: 9, external_id: 'external-9' });
});
