import { verify } from '../../migrations/0016_add_security_fields';
import { shapeOf, spendCodes, valuesOf, writeValues } from '../support/application';
import { expectRefusal, schemaOf } from '../support/catalog';
import { connect, databasePerTest, loadState, serverVersion, urlWith } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, scripts } from '../support/routes';

// Tables that somebody really has, each there and back by both routes.
const here = databasePerTest();

describe.each([functions, scripts])('$name', ({ up, down }) => {
  test('codes as text[] NOT NULL: whoever has none on the way back has {}', async () => {
    const { client } = here();
    await loadState(client, '0015');
    await client.query(`
      ALTER TABLE user_profiles DROP backup_codes, ADD backup_codes text[] NOT NULL DEFAULT '{}';
      ALTER TABLE user_profiles ALTER backup_codes DROP DEFAULT;
      UPDATE user_profiles SET backup_codes = '{A1B2-C3D4,E5F6-G7H8}' WHERE mfa_enabled`);
    const before = await schemaOf(client);
    await up(here());
    expect(await shapeOf(client)).toMatchObject({ mfa_backup_codes: 'text[]' });
    await spendCodes(client, 2);
    await down(here());
    expect(await schemaOf(client)).toEqual(before);
    const codes = await valuesOf(client, ['backup_codes']);
    expect(codes.slice(0, 4)).toEqual([
      { user_id: 1, backup_codes: [] },
      { user_id: 2, backup_codes: [] },
      { user_id: 3, backup_codes: [] },
      { user_id: 4, backup_codes: ['A1B2-C3D4', 'E5F6-G7H8'] },
    ]);
    await up(here());
    expect((await valuesOf(client, ['mfa_backup_codes']))[1]).toEqual({ user_id: 2, mfa_backup_codes: [] });
  });

  describe('forced row-level security, and a column that was widened', () => {
    const forced = `ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
      CREATE POLICY half ON user_profiles USING (id % 2 = 1)`;

    test('narrow again', async () => {
      const { client } = here();
      await loadState(client, '0015');
      await client.query(forced);
      const before = await schemaOf(client);
      await up(here());
      expect(await shapeOf(client)).toMatchObject({ email_verification_token: 'character varying(255)' });
      await down(here());
      expect(await schemaOf(client)).toEqual(before);
    });

    test('wide, where a value that it hides would not fit', async () => {
      const { client, admin } = here();
      await loadState(client, '0015');
      await client.query(forced);
      await up(here());
      await admin.query("UPDATE user_profiles SET email_verification_token = repeat('t', 150) WHERE id = 2");
      expect((await down(here())).join('\n')).toMatch(
        /^user_profiles: left as it is, as .*ALTER COLUMN email_verification_token TYPE character varying\(100\) USING .*;$/m,
      );
      const { rows } = await admin.query(
        'SELECT length(email_verification_token) FROM user_profiles WHERE id = 2',
      );
      expect(rows).toEqual([{ length: 150 }]);
      expect((await schemaOf(client)).filter((line) => /^relation user_profiles:/.test(line))).toEqual([
        expect.stringContaining('row security t t'),
      ]);
    });
  });

  describe('a parent with a child that inherits, and has rows with the same keys', () => {
    const child = `CREATE TABLE former_profiles (left_at date) INHERITS (user_profiles);
      INSERT INTO former_profiles SELECT * FROM user_profiles WHERE id <= 10`;
    const rowsOf = async (columns: string) =>
      (
        await here().client.query(
          `SELECT tableoid::regclass::text AS "table", id, ${columns} FROM user_profiles ORDER BY 1, 2`,
        )
      ).rows;

    test('values come back to the row that had them', async () => {
      const { client } = here();
      await loadState(client, '0015');
      await client.query(child);
      const before = await schemaOf(client);
      await up(here());
      await writeValues(client);
      await client.query("UPDATE user_profiles SET external_id = concat(tableoid::regclass, '-', id)");
      const schema = await schemaOf(client);
      const values = await rowsOf('external_id, failed_login_attempts, auth_provider');
      expect(values).toHaveLength(30);
      await down(here());
      expect((await schemaOf(client)).filter((line) => !line.includes('_down_archive'))).toEqual(before);
      await up(here());
      expect(await rowsOf('external_id, failed_login_attempts, auth_provider')).toEqual(values);
      expect(await schemaOf(client)).toEqual(schema);
    });

    test('so do archived codes', async () => {
      const { client } = here();
      await loadState(client, 'both-names');
      await client.query(`${child};
        UPDATE user_profiles SET mfa_backup_codes = '["NEW"]', backup_codes = jsonb_build_array(concat(tableoid::regclass, id))
        WHERE id IN (4, 6)`);
      const before = await schemaOf(client);
      const codes = await rowsOf('backup_codes');
      await up(here());
      await down(here());
      expect(await rowsOf('backup_codes')).toEqual(codes);
      expect(await schemaOf(client)).toEqual(before);
    });
  });

  test('timestamptz(6) is as good as timestamptz', async () => {
    const { client, url } = here();
    await loadState(client, '0015');
    await client.query('ALTER TABLE user_profiles ADD account_locked_until timestamptz(6)');
    const before = await schemaOf(client);
    await up(here());
    expect(await shapeOf(client)).toMatchObject({ account_locked_until: 'timestamp(6) with time zone' });
    const knex = await knexFor(url);
    const { asDeclared } = await verify(knex).finally(() => knex.destroy());
    expect(asDeclared).toBe(true);
    await down(here());
    expect(await schemaOf(client)).toEqual(before);
  });

  describe('a table that goes elsewhere in between, and what is kept beside it stays where it was', () => {
    const columns = ['external_id', 'failed_login_attempts', 'mfa_backup_codes'];
    const inUse = async () => {
      const { client } = here();
      await loadState(client, '0015');
      await up(here());
      await writeValues(client);
      return valuesOf(client, columns);
    };
    const kept = async () =>
      (
        await here().client.query(
          `SELECT oid::regclass::text AS name FROM pg_class WHERE relname LIKE 'user_profiles_0016%' AND relkind = 'r'`,
        )
      ).rows.map(({ name }) => name);

    test.each(['latest', 'down'])('to another schema, after %s', async (after) => {
      const { client, admin, name } = here();
      const values = await inUse();
      if (after === 'down') await down(here());
      await client.query(
        'CREATE SCHEMA app; ALTER TABLE user_profiles SET SCHEMA app; SET search_path = app',
      );
      await admin.query(`ALTER DATABASE ${name} SET search_path = app`);
      if (after === 'latest') await down(here());
      await up(here());
      expect(await valuesOf(client, columns)).toEqual(values);
      expect(await kept()).toEqual(['user_profiles_0016_before']);
    });

    test.each(['latest', 'down'])('to another role, after %s', async (after) => {
      const { admin, adminUrl, owner } = here();
      const values = await inUse();
      if (after === 'down') await down(here());
      const heir = `${owner}_heir`;
      await admin.query(`CREATE ROLE ${heir} LOGIN PASSWORD 'heir'; GRANT ALL ON SCHEMA public TO ${heir};
        ALTER TABLE user_profiles OWNER TO ${heir}`);
      const url = urlWith(adminUrl, { username: heir, password: 'heir' });
      const client = await connect(url);
      const other = { ...here(), url, client };
      try {
        const refusal = await (after === 'down' ? up : down)(other).then(
          () => undefined,
          ({ message, hint }) => [message, hint].join('\n'),
        );
        // As it says.
        const statements = refusal?.match(/ALTER TABLE public\.user_profiles_0016_\w+ OWNER TO \w+;/g);
        await admin.query(statements?.join('\n') ?? '');
        if (after === 'latest') await down(other);
        await up(other);
        expect(await valuesOf(client, columns)).toEqual(values);
        expect(await kept()).toEqual(['user_profiles_0016_before']);
      } finally {
        await client.end();
        await admin.query(`DROP OWNED BY ${heir}; DROP ROLE ${heir}`);
      }
    });
  });

  describe('constraints with names of their own', () => {
    const constraints = async () =>
      (
        await here().client.query(
          `SELECT conname, pg_get_constraintdef(oid) AS definition, convalidated FROM pg_constraint
           WHERE conrelid = 'user_profiles'::regclass ORDER BY conname`,
        )
      ).rows;

    /** There and back. */
    const thereAndBack = async (prepared: string) => {
      const { client } = here();
      await loadState(client, '0015');
      await client.query(prepared);
      const before = { constraints: await constraints(), schema: await schemaOf(client) };
      await up(here());
      await down(here());
      expect({ constraints: await constraints(), schema: await schemaOf(client) }).toEqual(before);
    };

    test('CHECK, valid or not', () =>
      thereAndBack(`
        ALTER TABLE user_profiles
          ADD CONSTRAINT codes_are_a_list CHECK (jsonb_typeof(backup_codes) = 'array'),
          ADD CONSTRAINT few_codes CHECK (jsonb_array_length(backup_codes) <= 1) NOT VALID,
          ADD CONSTRAINT no_blank CHECK (email_verification_token NOT LIKE '% %') NOT VALID`));

    if (serverVersion < 18) return;

    test('NOT NULL of a column that is renamed', () =>
      thereAndBack(
        'ALTER TABLE user_profiles RENAME CONSTRAINT user_profiles_backup_codes_not_null TO "Codes!"',
      ));

    test('the same, NOT VALID', () =>
      thereAndBack(`
        ALTER TABLE user_profiles ALTER backup_codes DROP NOT NULL;
        UPDATE user_profiles SET backup_codes = NULL WHERE id = 1;
        ALTER TABLE user_profiles ADD CONSTRAINT codes_later NOT NULL backup_codes NOT VALID`));

    test('NOT NULL of a column that stays', () =>
      thereAndBack(`
        ALTER TABLE user_profiles RENAME CONSTRAINT user_profiles_email_verified_not_null TO verified_or_not;
        ALTER TABLE user_profiles ADD external_id varchar(255) DEFAULT 'x' CONSTRAINT known_outside NOT NULL`));

    test('NOT NULL of a column that goes for another one', () =>
      thereAndBack(`
        ALTER TABLE user_profiles ADD mfa_backup_codes text;
        ALTER TABLE user_profiles RENAME CONSTRAINT user_profiles_backup_codes_not_null TO codes_needed`));
  });
});

test('timestamptz(3) is not', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await client.query('ALTER TABLE user_profiles ADD account_locked_until timestamptz(3)');
  await expectRefusal(
    client,
    () => functions.up(here()),
    /account_locked_until is timestamp\(3\) with time zone, and the application needs timestamp with time zone\./,
  );
});
