import { plan } from '../../migrations/0016_add_security_fields';
import { declaredShape, shapeOf, valuesOf, writeValues } from '../support/application';
import { everythingIn } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, type Route, scripts } from '../support/routes';

const here = databasePerTest('0015');

const asDeclared = { ...declaredShape, mfa_backup_codes: 'jsonb' };
const everything = () => everythingIn(here().client);

async function planned() {
  const knex = await knexFor(here().url);
  const found = await plan(knex);
  await knex.destroy();
  return found;
}

test('no rows: there and back, and nothing is archived', async () => {
  await here().client.query('TRUNCATE user_profiles');
  const before = await everything();
  await functions.up(here());
  expect(await shapeOf(here().client)).toEqual(asDeclared);
  expect(await functions.down(here())).not.toContainEqual(expect.stringContaining('archive'));
  expect(await everything()).toEqual(before);
});

describe('column numbers', () => {
  /** Makes a table of which so many numbers are left: a dropped column keeps its own. */
  async function leave(left: number) {
    const { client } = here();
    const names = Array.from({ length: 1600 - 14 - left }, (_, i) => `gone_${i}`);
    for (const verb of ['ADD', 'DROP']) {
      const parts = names.map((name) => `${verb} ${name}${verb === 'ADD' ? ' boolean' : ''}`);
      await client.query(`ALTER TABLE user_profiles ${parts.join(', ')}`);
    }
  }

  test('each time that it is done takes eight; plan counts them, and the server refuses the last time', async () => {
    await leave(27);
    for (const left of [27, 19, 11]) {
      const { conflicts, warnings } = await planned();
      expect(conflicts).toEqual([]);
      // Before 11 a default rewrites the table besides.
      const [first] = warnings.filter((line) => !line.includes('before PostgreSQL 11'));
      expect(first).toContain(`${left} more columns are possible`);
      await functions.up(here());
      await functions.down(here());
    }
    const before = await everything();
    await expect(functions.up(here())).rejects.toThrow(
      'user_profiles is left as it was: tables can have at most 1600 columns',
    );
    expect(await everything()).toEqual(before);
  });

  test('the way back to two names needs one as well, and is refused without', async () => {
    const { client } = here();
    await client.query('ALTER TABLE user_profiles ADD mfa_backup_codes text');
    await leave(9);
    await functions.up(here());
    const before = await everything();
    await expect(functions.down(here())).rejects.toThrow('tables can have at most 1600 columns');
    expect(await everything()).toEqual(before);
  });
});

test.each([
  ['"Backup_Codes"', 'ALTER TABLE user_profiles RENAME backup_codes TO "Backup_Codes"', 'backup_codes'],
  ['"External_ID" beside the others', 'ALTER TABLE user_profiles ADD "External_ID" text', 'external_id'],
])('a name that differs only in case is refused: %s', async (_name, sql, name) => {
  await here().client.query(sql);
  const before = await everything();
  await expect(functions.up(here())).rejects.toThrow(`differs from ${name} only in case`);
  await expect(functions.up(here())).rejects.toThrow(
    /ALTER TABLE public\.user_profiles RENAME COLUMN "\w+" TO/,
  );
  expect(await everything()).toEqual(before);
});

test('a unique index that could not be built: named, with what was to be done', async () => {
  const { client } = here();
  await client.query("UPDATE user_profiles SET email_verification_token = 'x' WHERE user_id < 4");
  await client
    .query('CREATE UNIQUE INDEX CONCURRENTLY token_once ON user_profiles (email_verification_token)')
    .catch(() => undefined);
  const before = await everything();
  await expect(functions.up(here())).rejects.toThrow(
    /^user_profiles is left as it was: a value stands in the way \(token_once\)\n.*The statement was: ALTER TABLE .* ALTER COLUMN email_verification_token TYPE character varying\(255\)/s,
  );
  expect(await everything()).toEqual(before);
});

test('one beside the column itself is to have another name', async () => {
  const { client } = here();
  await client.query('ALTER TABLE user_profiles ADD "External_ID" text, ADD external_id text');
  const refusal = await functions.up(here()).then(String, String);
  const [statement = ''] = /ALTER TABLE .*? RENAME .*?;/.exec(refusal) ?? [];
  await client.query(statement);
  await functions.up(here());
});

(serverVersion >= 12 ? test : test.skip)(
  'a column that somebody has made a generated one since is left on the way back',
  async () => {
    const { client } = here();
    await functions.up(here());
    await client.query(`ALTER TABLE user_profiles DROP email_verified,
      ADD email_verified boolean GENERATED ALWAYS AS (mfa_enabled) STORED`);
    await functions.down(here());
    await client.query('SELECT backup_codes FROM user_profiles');
  },
);

describe.each<[string, Route]>([
  ['up() and down()', functions],
  ['script', scripts],
])('inheritance children, %s', (_name, route) => {
  test('are changed with their parent; without values it is taken back', async () => {
    const { client } = here();
    await client.query(`CREATE TABLE archived_profiles (archived_at timestamptz) INHERITS (user_profiles);
      INSERT INTO archived_profiles SELECT *, now() FROM ONLY user_profiles WHERE id < 3`);
    const before = await everything();
    await route.up(here());
    expect(await shapeOf(client)).toEqual(asDeclared);
    const { rows } = await client.query(
      'SELECT count(*)::int AS n FROM archived_profiles WHERE failed_login_attempts = 0',
    );
    expect(rows).toEqual([{ n: 2 }]);
    await route.down(here());
    expect(await everything()).toEqual(before);
  });

  test('share keys with their parent: every value comes back to its own row', async () => {
    const { client } = here();
    await client.query(`CREATE TABLE archived_profiles () INHERITS (user_profiles);
      INSERT INTO archived_profiles SELECT * FROM ONLY user_profiles WHERE id < 3`);
    await route.up(here());
    await writeValues(client);
    await client.query("UPDATE archived_profiles SET external_id = 'of the child ' || id");
    const before = await everything();
    await route.down(here());
    await route.up(here());
    expect(await everything()).toEqual(before);
  });

  test('one that has such a column of its own is named', async () => {
    await here().client.query(
      'CREATE TABLE archived_profiles (external_id integer) INHERITS (user_profiles)',
    );
    await expect(route.up(here())).rejects.toThrow('archived_profiles has a column external_id of its own');
  });

  test('so is a child of a child', async () => {
    await here().client.query(`CREATE TABLE archived_profiles () INHERITS (user_profiles);
      CREATE TABLE old_profiles (external_id integer) INHERITS (archived_profiles);
      CREATE TABLE oldest_profiles () INHERITS (old_profiles)`);
    const refusal = await route.up(here()).then(String, String);
    expect(refusal).toContain('old_profiles has a column external_id of its own');
    expect(refusal).not.toContain('oldest_profiles has');
  });
});

describe('a text column', () => {
  test.each(['text', 'varchar(255)', 'varchar(100)'])('of a domain over %s is refused', async (type) => {
    const { client } = here();
    await client.query(`CREATE DOMAIN token AS ${type};
      ALTER TABLE user_profiles ALTER email_verification_token TYPE token`);
    const before = await everything();
    await expect(functions.up(here())).rejects.toThrow(
      /email_verification_token is (public\.)?token, and the application needs character varying\(255\)/,
    );
    expect(await everything()).toEqual(before);
  });

  test('of a domain that is only renamed keeps it', async () => {
    const { client } = here();
    await client.query(
      `CREATE DOMAIN codes AS jsonb; ALTER TABLE user_profiles ALTER backup_codes TYPE codes`,
    );
    const before = await everything();
    await functions.up(here());
    expect(await shapeOf(client)).toEqual({ ...declaredShape, mfa_backup_codes: 'codes' });
    await functions.down(here());
    expect(await everything()).toEqual(before);
  });

  test('with a collation of its own keeps it, there and back', async () => {
    const { client } = here();
    await client.query(
      'ALTER TABLE user_profiles ALTER email_verification_token TYPE varchar(100) COLLATE "C"',
    );
    const collation = async () => {
      const { rows } = await client.query(
        `SELECT collname FROM pg_attribute a JOIN pg_collation c ON c.oid = attcollation
         WHERE attrelid = 'user_profiles'::regclass AND attname = 'email_verification_token'`,
      );
      return rows[0].collname;
    };
    const before = await everything();
    await functions.up(here());
    expect(await collation()).toBe('C');
    await functions.down(here());
    expect(await everything()).toEqual(before);
  });
});

// Before 11 the program may not begin a transaction of another level, and refuses.
test.each(serverVersion >= 11 ? ['repeatable read', 'serializable'] : ['read committed'])(
  'two at once, %s by default: never half a change',
  async (level) => {
    const { client, admin, name } = here();
    await functions.up(here());
    await writeValues(client);
    const columns = [...Object.keys(declaredShape), 'mfa_backup_codes'];
    const values = await valuesOf(client, columns);
    await admin.query(`ALTER DATABASE ${name} SET default_transaction_isolation = '${level}'`);
    try {
      for (let round = 0; round < 3; round++) {
        for (const pair of [
          ['down', 'down'],
          ['up', 'up'],
          ['down', 'up'],
        ] as const) {
          await Promise.all(pair.map((direction) => functions[direction](here())));
        }
        await functions.up(here());
        expect(await shapeOf(client)).toEqual(asDeclared);
        expect(await valuesOf(client, columns)).toEqual(values);
      }
    } finally {
      await admin.query(`ALTER DATABASE ${name} RESET default_transaction_isolation`);
    }
  },
);
