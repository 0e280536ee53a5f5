import { tableChange } from '../../src/table-change';
import { declaredShape, shapeOf } from '../support/application';
import { expectRefusal, schemaOf } from '../support/catalog';
import { databasePerTest, serverVersion } from '../support/database';
import { functions, migrate } from '../support/routes';

// One row of the rules each, on the table as 0015 leaves it.
const here = databasePerTest('0015');

const asDeclared = { ...declaredShape, mfa_backup_codes: 'jsonb' };

/** Statements and clauses, one a line; those that make a table of ours beside it are left out. */
function clauses(said: readonly string[]): string[] {
  return said
    .filter((statement) => !statement.startsWith('CREATE TABLE'))
    .flatMap((statement) => statement.split('\n'))
    .map((line) => line.replace(/^ +|,$/g, ''));
}

/** Makes the change to what `prepared` leaves: the shape afterwards, and the lines that were said about a column. */
async function changed(prepared: string, column: string) {
  const { client } = here();
  await client.query(prepared);
  const before = await schemaOf(client);
  const said = await functions.up(here());
  const shape = await shapeOf(client);
  await functions.down(here());
  expect(await schemaOf(client)).toEqual(before);
  return {
    shape,
    said: clauses(said).filter((line) => line.includes(column)),
  };
}

test.each([
  ['email_verification_token', '', 'character varying(255)'],
  ['auth_provider', 'ALTER TABLE user_profiles ADD auth_provider varchar(1)', 'character varying(50)'],
])('shorter varchar: widened, in the catalog only: %s', async (column, prepared, type) => {
  const { client } = here();
  await client.query(prepared);
  const file = () => client.query("SELECT pg_relation_filenode('user_profiles')");
  const { rows } = await file();
  expect(clauses(await functions.up(here()))).toContain(`ALTER COLUMN ${column} TYPE ${type}`);
  expect(await shapeOf(client)).toEqual(asDeclared);
  // Before 11 a column with a default rewrites the table.
  if (serverVersion >= 11) expect((await file()).rows).toEqual(rows);
});

test.each([
  ['external_id', 'varchar(300)', 'character varying(300)', 'character varying(255)'],
  ['external_id', 'varchar', 'character varying', 'character varying(255)'],
  ['auth_provider', 'text', 'text', 'character varying(50)'],
  ['failed_login_attempts', 'bigint NOT NULL DEFAULT 0', 'bigint NOT NULL DEFAULT 0', 'integer'],
])('wider: left, and said: %s %s', async (column, type, found, wanted) => {
  const { shape, said } = await changed(`ALTER TABLE user_profiles ADD ${column} ${type}`, column);
  expect(shape).toEqual({ ...asDeclared, [column]: found });
  const [left] = found.split(' NOT NULL');
  expect(said).toEqual([
    `user_profiles: leave ${column} as ${left}: it holds everything that ${wanted} does`,
  ]);
});

(serverVersion >= 18 ? test : test.skip)(
  'a NOT NULL that was never proved: NULLs are filled, and it is proved',
  async () => {
    const { client } = here();
    await client.query(`ALTER TABLE user_profiles ADD failed_login_attempts integer DEFAULT 0;
    UPDATE user_profiles SET failed_login_attempts = NULL WHERE user_id = 1;
    ALTER TABLE user_profiles ADD CONSTRAINT later NOT NULL failed_login_attempts NOT VALID`);
    const said = clauses(await functions.up(here()));
    expect(said).toContain(
      'UPDATE public.user_profiles SET failed_login_attempts = coalesce(failed_login_attempts, 0) WHERE failed_login_attempts IS NULL (1 rows)',
    );
    expect(said).toContain('ALTER COLUMN failed_login_attempts SET NOT NULL');
    const { rows } = await client.query(
      "SELECT convalidated FROM pg_constraint WHERE conname = 'later' AND conrelid = 'user_profiles'::regclass",
    );
    expect(rows).toEqual([{ convalidated: true }]);
  },
);

(serverVersion >= 18 ? test : test.skip)('one where NULL is wanted is dropped', async () => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles ALTER backup_codes DROP NOT NULL;
    ALTER TABLE user_profiles ADD CONSTRAINT later NOT NULL backup_codes NOT VALID`);
  expect(clauses(await functions.up(here()))).toContain('ALTER COLUMN mfa_backup_codes DROP NOT NULL');
  await client.query('UPDATE user_profiles SET mfa_backup_codes = NULL');
});

test.each([
  ['varchar(50)', 'ALTER COLUMN notes TYPE text'],
  ['varchar', 'user_profiles: nothing to do'],
])('where text is wanted: %s', async (type, expected) => {
  await here().client.query(`ALTER TABLE user_profiles ADD notes ${type}`);
  const change = tableChange({ id: '18', table: 'user_profiles', add: { notes: { type: 'text' } } });
  expect(clauses(await migrate(here().url, 'up', change))).toContain(expected);
});

test.each(['integer', 'bigint'])('wider than a smallint is %s as well', async (type) => {
  await here().client.query(`ALTER TABLE user_profiles ADD logins ${type}`);
  const change = tableChange({ id: '18', table: 'user_profiles', add: { logins: { type: 'smallint' } } });
  expect(await migrate(here().url, 'up', change)).toEqual([
    `user_profiles: leave logins as ${type}: it holds everything that smallint does`,
    'user_profiles: nothing to do',
  ]);
});

test.each(
  [
    ['account_locked_until', 'timestamp', 'timestamp without time zone'],
    ['account_locked_until', 'date', 'date'],
    ['failed_login_attempts', 'text', 'text'],
    ['failed_login_attempts', 'smallint', 'smallint'],
    ['failed_login_attempts', 'numeric', 'numeric'],
    ['external_id', 'char(255)', 'character(255)'],
    ['external_id', 'varchar(100)[]', 'character varying(100)[]'],
    ['external_id', 'uuid', 'uuid'],
    ['failed_login_attempts', 'smallint DEFAULT 0 NOT NULL', 'smallint'],
    ['external_id', 'integer', 'integer'],
    ['auth_provider', "varchar(50) GENERATED ALWAYS AS ('local') STORED", 'a generated column'],
    ['failed_login_attempts', 'integer GENERATED BY DEFAULT AS IDENTITY', 'an identity column'],
  ].filter(([, type]) => serverVersion >= 12 || !type?.includes('GENERATED ALWAYS')),
)('any other type: a conflict, and nothing is changed: %s %s', async (column, type, found) => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles ADD ${column} ${type}`);
  await expectRefusal(
    client,
    () => functions.up(here()),
    new RegExp(
      `^user_profiles is left as it was: ${column} is ${found.replace(/[()[\]]/g, '\\$&')}, and the application needs .*\\. ` +
        `Convert it first; or, where its values may be missing: ALTER TABLE public.user_profiles RENAME COLUMN ${column} TO ${column}_old;${/NOT NULL$/.test(type ?? '') ? ` ALTER TABLE public.user_profiles ALTER COLUMN ${column}_old DROP NOT NULL;` : ''}$`,
    ),
  );
});

test.each([
  ['failed_login_attempts', 'integer NOT NULL DEFAULT 5', 'SET DEFAULT 0'],
  ['failed_login_attempts', 'integer NOT NULL', 'SET DEFAULT 0'],
  ['auth_provider', "varchar(50) DEFAULT 'local'", 'DROP DEFAULT'],
  ['auth_provider', "varchar(50) DEFAULT ''", 'DROP DEFAULT'],
  ['last_password_change', 'timestamptz DEFAULT now()', 'DROP DEFAULT'],
])('other default or none: %s %s: %s', async (column, type, clause) => {
  const { shape, said } = await changed(
    `DELETE FROM user_profiles; ALTER TABLE user_profiles ADD ${column} ${type}`,
    column,
  );
  expect(shape).toEqual(asDeclared);
  expect(said).toContain(`ALTER COLUMN ${column} ${clause}`);
});

test('the same default in other words is the same', async () => {
  const { said } = await changed(
    "ALTER TABLE user_profiles ALTER email_verified SET DEFAULT ('f'::text)::boolean, ADD failed_login_attempts integer NOT NULL DEFAULT '0'",
    'failed_login_attempts',
  );
  expect(said).toEqual([]);
});

test('nullable, wanted NOT NULL: NULLs are filled with the default', async () => {
  const { client } = here();
  await client.query(`
    ALTER TABLE user_profiles ADD failed_login_attempts integer, ALTER email_verified DROP NOT NULL;
    UPDATE user_profiles SET failed_login_attempts = 3 WHERE user_id = 1;
    UPDATE user_profiles SET email_verified = NULL WHERE user_id = 3`);
  const before = await schemaOf(client);
  const said = clauses(await functions.up(here()));
  expect(said).toContain(
    'UPDATE public.user_profiles SET failed_login_attempts = coalesce(failed_login_attempts, 0), ' +
      'email_verified = coalesce(email_verified, false) WHERE failed_login_attempts IS NULL OR email_verified IS NULL (19 rows)',
  );
  expect(said).toContain('ALTER COLUMN failed_login_attempts SET NOT NULL');
  expect(await shapeOf(client)).toEqual(asDeclared);
  const { rows } = await client.query(
    'SELECT failed_login_attempts, email_verified FROM user_profiles WHERE user_id IN (1, 3) ORDER BY user_id',
  );
  expect(rows).toEqual([
    { failed_login_attempts: 3, email_verified: false },
    { failed_login_attempts: 0, email_verified: false },
  ]);
  await functions.down(here());
  expect(await schemaOf(client)).toEqual(before);
});

test.each([
  ['with a default', "varchar(255) NOT NULL DEFAULT 'x'", ''],
  [
    'without one',
    "varchar(255) NOT NULL DEFAULT 'x'",
    '; ALTER TABLE user_profiles ALTER external_id DROP DEFAULT',
  ],
])('NOT NULL, wanted nullable: DROP NOT NULL, %s', async (_, type, then) => {
  const { shape, said } = await changed(
    `ALTER TABLE user_profiles ADD external_id ${type} ${then}`,
    'external_id',
  );
  expect(shape).toEqual(asDeclared);
  expect(said).toContain('ALTER COLUMN external_id DROP NOT NULL');
});

test('NOT NULL without a default, and NULLs since: stays nullable on the way back, and that is said', async () => {
  const { client } = here();
  await client.query(`ALTER TABLE user_profiles ADD external_id varchar(255) NOT NULL DEFAULT 'x';
                      ALTER TABLE user_profiles ALTER external_id DROP DEFAULT`);
  const before = await schemaOf(client);
  await functions.up(here());
  await client.query('UPDATE user_profiles SET external_id = NULL WHERE user_id = 1');
  const left = (await functions.down(here())).join('\n');
  const said =
    /^user_profiles: left as it is, as a value stands in the way\. At a quiet hour: (ALTER TABLE .*external_id.*;)$/m;
  const [, statement = ''] = said.exec(left) ?? [];
  expect(await shapeOf(client)).toMatchObject({ external_id: 'character varying(255)' });
  // As it says.
  await client.query(`UPDATE user_profiles SET external_id = 'x' WHERE user_id = 1; ${statement}`);
  expect(await schemaOf(client)).toEqual(before);
});

test('only backup_codes: renamed, nullable, without a default', async () => {
  const { shape, said } = await changed(
    "ALTER TABLE user_profiles ALTER backup_codes SET DEFAULT '[]'; COMMENT ON COLUMN user_profiles.backup_codes IS 'hashed'",
    'backup_codes',
  );
  expect(shape).toEqual(asDeclared);
  expect(said).toEqual([
    'ALTER TABLE public.user_profiles RENAME COLUMN backup_codes TO mfa_backup_codes',
    'ALTER COLUMN mfa_backup_codes DROP DEFAULT',
    'ALTER COLUMN mfa_backup_codes DROP NOT NULL',
  ]);
});

test('only mfa_backup_codes: it has been renamed already', async () => {
  const { shape, said } = await changed(
    'ALTER TABLE user_profiles RENAME backup_codes TO mfa_backup_codes',
    'backup_codes',
  );
  expect(shape).toEqual(asDeclared);
  expect(said).toEqual(['ALTER COLUMN mfa_backup_codes DROP NOT NULL']);
});

test('neither name: the new one is added', async () => {
  const { shape, said } = await changed('ALTER TABLE user_profiles DROP backup_codes', 'backup_codes');
  expect(shape).toEqual({ ...asDeclared, mfa_backup_codes: 'text' });
  expect(said).toEqual(['ADD COLUMN mfa_backup_codes text']);
});

test('all conflicts are named at once', async () => {
  await here().client.query('ALTER TABLE user_profiles ADD external_id uuid, ADD auth_provider integer');
  await expect(functions.up(here())).rejects.toThrow(/auth_provider is integer[\s\S]*external_id is uuid/);
});
