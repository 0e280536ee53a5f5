import type { Knex } from 'knex';
import { verify } from '../../migrations/0016_add_security_fields';
import type { Verification } from '../../src/table-change';
import { declaredShape } from '../support/application';
import { connect, freshDatabase, loadState, type TestDatabase } from '../support/database';
import { knexFor } from '../support/knex';
import { migrateWith } from '../support/routes';

// One database in which all is as declared; each test breaks one thing, in a transaction that is taken back.
let database: TestDatabase;
let knex: Knex;
beforeAll(async () => {
  database = await freshDatabase();
  await loadState(database.client, '0015');
  knex = await knexFor(database.url);
  await migrateWith(knex, 'up');
});
afterAll(async () => {
  await knex.destroy();
  await database.close();
});

/** What verify says once these statements have been carried out. */
async function verified(statements: string, role?: string): Promise<Verification> {
  const transaction = await knex.transaction();
  try {
    await transaction.raw(statements.replaceAll('?', '\\?'));
    return await verify(transaction, role);
  } finally {
    await transaction.rollback();
  }
}

const shapes: Record<string, string> = { ...declaredShape, mfa_backup_codes: 'jsonb' };
const alter = (clause: string) => `ALTER TABLE user_profiles ${clause}`;

/** What can be wrong with a column, and the statement that makes it so. */
function defects(name: string, shape: string): [defect: string, statement: string][] {
  const column = `ALTER COLUMN ${name}`;
  const otherType = shape.startsWith('character')
    ? 'varchar(10)'
    : shape.startsWith('integer')
      ? 'smallint'
      : 'text';
  return [
    ['missing', alter(`DROP COLUMN ${name}`)],
    ...(name === 'mfa_backup_codes'
      ? []
      : [['type', alter(`${column} DROP DEFAULT, ${column} TYPE ${otherType}`)] as [string, string]]),
    [
      'nullability',
      shape.includes('NOT NULL')
        ? alter(`${column} DROP NOT NULL`)
        : `UPDATE user_profiles SET ${name} = ${sample(shape)}; SET CONSTRAINTS ALL IMMEDIATE; ${alter(`${column} SET NOT NULL`)}`,
    ],
    ['default', alter(`${column} SET DEFAULT ${sample(shape)}`)],
    ...(shape.includes('DEFAULT')
      ? [['no default', alter(`${column} DROP DEFAULT`)] as [string, string]]
      : []),
  ];
}

function sample(shape: string): string {
  if (shape.startsWith('integer')) return '7';
  if (shape.startsWith('boolean')) return 'true';
  if (shape.startsWith('timestamp')) return 'now()';
  return shape === 'jsonb' ? "'[]'" : "'x'";
}

test('as declared: every column, and no hint but the one about jsonb', async () => {
  const found = await verify(knex);
  expect(found.asDeclared).toBe(true);
  expect(found.columns.map(({ name, found: shape, differs }) => [name, shape, differs])).toEqual(
    Object.entries(shapes).map(([name, shape]) => [name, shape, []]),
  );
  expect(found.withoutPrivilege).toEqual([]);
  expect(found.recorded).toBe(null);
  expect(found.hints).toEqual([expect.stringMatching(/^mfa_backup_codes is jsonb, as backup_codes was; /)]);
  expect(found.lines.at(-1)).toBe('user_profiles is as declared.');
});

describe.each(Object.entries(shapes))('it fails for %s', (name, shape) => {
  test.each(defects(name, shape))('%s', async (_, statement) => {
    const found = await verified(statement);
    expect(found.asDeclared).toBe(false);
    expect(found.columns.filter(({ differs }) => differs.length > 0).map((column) => column.name)).toEqual([
      name,
    ]);
    expect(found.lines.at(-1)).toBe('user_profiles is not as declared.');
    expect(found.lines.filter((line) => line.startsWith('✗'))).toEqual([
      expect.stringContaining(`✗ ${name} `),
    ]);
  });
});

test('what is refused is said of its column, and the others are compared all the same', async () => {
  const found = await verified(
    alter('DROP auth_provider, DROP external_id, ADD external_id uuid, ADD backup_codes integer'),
  );
  const lines = found.lines.filter((line) => /^[✗✓-] /.test(line));
  expect(lines.filter((line) => line.startsWith('✗'))).toEqual([
    '✗ auth_provider                missing (left: ADD COLUMN auth_provider character varying(50))',
    expect.stringMatching(/^✗ external_id +uuid \(left: external_id is uuid, and the application needs /),
    '✗ backup_codes                 integer (left: DROP COLUMN backup_codes)',
    expect.stringMatching(/^✗ there is a column backup_codes again beside mfa_backup_codes\./),
  ]);
  expect(lines.filter((line) => line.startsWith('✓'))).toHaveLength(9);
  expect(found.asDeclared).toBe(false);
});

test('it passes where a column is wider', async () => {
  expect((await verified(alter('ALTER COLUMN external_id TYPE text'))).asDeclared).toBe(true);
});

test('only renamed yet: what is left is said of the new name', async () => {
  const { columns } = await verified(alter('RENAME COLUMN mfa_backup_codes TO backup_codes'));
  expect(columns.filter(({ differs }) => differs.length > 0)).toEqual([
    { name: 'mfa_backup_codes', found: null, differs: ['RENAME COLUMN backup_codes TO mfa_backup_codes'] },
  ]);
});

describe('CHECK constraints over what the application stores', () => {
  test('one that refuses NULL where the declaration has it: it differs, and its advice works', async () => {
    const statement = alter('ADD CONSTRAINT codes_are_there CHECK (mfa_backup_codes IS NOT NULL) NOT VALID');
    const found = await verified(statement);
    expect([found.asDeclared, found.hints.length]).toEqual([false, 1]);
    const [line = ''] = found.columns.flatMap(({ differs }) => differs);
    const [, remedy = ''] =
      /^constraint codes_are_there refuses NULL, .*: (ALTER TABLE .*;)$/.exec(line) ?? [];
    expect((await verified(`${statement}; ${remedy}`)).asDeclared).toBe(true);
  });

  test('a domain that refuses NULL: the same', async () => {
    const statement = `CREATE DOMAIN codes AS jsonb NOT NULL; ${alter('ALTER mfa_backup_codes TYPE codes')}`;
    const [line = ''] = (await verified(statement)).columns.flatMap(({ differs }) => differs);
    const [, remedy = ''] = /^type public\.codes refuses NULL, .*: (ALTER DOMAIN .*;)$/.exec(line) ?? [];
    expect((await verified(`${statement}; ${remedy}`)).asDeclared).toBe(true);
  });

  test('one of a child alone: the same', async () => {
    const { asDeclared, columns } = await verified(
      'CREATE TABLE child (CONSTRAINT there CHECK (mfa_backup_codes IS NOT NULL)) INHERITS (user_profiles)',
    );
    expect(asDeclared).toBe(false);
    const [line = ''] = columns.flatMap(({ differs }) => differs);
    expect(line).toMatch(
      /^constraint there refuses NULL, .*: ALTER TABLE (public\.)?child DROP CONSTRAINT there;$/,
    );
  });

  test('any other one: a hint, once', async () => {
    const found = await verified(
      alter(`ADD CONSTRAINT token CHECK (char_length(email_verification_token) <= 100),
        ADD CONSTRAINT two CHECK (external_id IS NOT NULL OR auth_provider IS NULL),
        ADD CONSTRAINT told CHECK (email_verified IS NOT NULL), ADD CONSTRAINT other CHECK (phone <> '')`),
    );
    expect(found.asDeclared).toBe(true);
    expect(found.hints.slice(0, -1)).toEqual([
      expect.stringMatching(
        /^constraint token of public\.user_profiles may refuse .*: CHECK \(\(char_length/,
      ),
      expect.stringMatching(/^constraint two of public\.user_profiles may refuse .*: CHECK \(\(/),
    ]);
  });
});

test('it fails where backup_codes is there again', async () => {
  const { asDeclared, columns, lines } = await verified(alter('ADD backup_codes jsonb'));
  expect(asDeclared).toBe(false);
  expect(columns.at(-1)).toEqual({
    name: 'backup_codes',
    found: 'jsonb',
    differs: ['DROP COLUMN backup_codes'],
  });
  expect(lines.join()).not.toContain('LOCK TABLE');
});

test.each([
  ['jsonb', 'jsonb', 'All works but saving an empty string'],
  ['character varying(50)', 'varchar(50)', 'It may refuse what the application stores'],
  ['text[]', "text[] USING '{}'", 'It may refuse what the application stores'],
])('a hint where the codes are %s: it goes by the statement in it', async (type, to, why) => {
  const statement = alter(`ALTER COLUMN mfa_backup_codes TYPE ${to}`);
  const [hint = ''] = (await verified(statement)).hints;
  expect(hint).toContain(
    `mfa_backup_codes is ${type}, as backup_codes was; the application's model says text. ${why}. At `,
  );
  expect((await verified(`${statement}; ${/ALTER TABLE .*;/.exec(hint)?.[0]}`)).hints).toEqual([]);
});

test.each([
  ['a varchar has no limit', 'varchar'],
  ['bytea would be another value as text', "bytea USING convert_to(mfa_backup_codes::text, 'UTF8')"],
])('no hint where %s', async (_, type) => {
  expect((await verified(alter(`ALTER COLUMN mfa_backup_codes TYPE ${type}`))).hints).toEqual([]);
});

describe('--role', () => {
  const role = () => `${database.name}_app`;
  beforeAll(async () => {
    await database.admin.query(`CREATE ROLE ${role()}`);
  });
  afterAll(async () => {
    await database.admin.query(`DROP OWNED BY ${role()}; DROP ROLE ${role()}`);
  });

  test('one with rights on the table may use every column', async () => {
    const found = await verified(`GRANT SELECT, INSERT, UPDATE ON user_profiles TO ${role()}`, role());
    expect(found.withoutPrivilege).toEqual([]);
    expect(found.asDeclared).toBe(true);
  });

  test.each(['SELECT', 'INSERT', 'UPDATE'])(
    'one without %s on a single column: it fails, with the statement',
    async (right) => {
      const all = Object.keys(shapes);
      const some = all.filter((name) => name !== 'external_id').join(', ');
      const grants = ['SELECT', 'INSERT', 'UPDATE'].map(
        (one) => `GRANT ${one} (${one === right ? some : all.join(', ')}) ON user_profiles TO ${role()}`,
      );
      const found = await verified(grants.join('; '), role());
      expect(found.withoutPrivilege).toEqual(['external_id']);
      expect(found.asDeclared).toBe(false);
      expect(found.lines.join('\n')).toContain(
        `GRANT SELECT (external_id), INSERT (external_id), UPDATE (external_id) ON public.user_profiles TO ${role()};`,
      );
    },
  );

  test('one with no rights: every column', async () => {
    expect([...(await verify(knex, role())).withoutPrivilege].sort()).toEqual(Object.keys(shapes).sort());
  });

  test('one that is not there: could not look', async () => {
    await expect(verify(knex, 'Nobody')).rejects.toThrow('role "Nobody" does not exist');
  });
});

test('a table that somebody has locked: could not look, and who holds it', async () => {
  const other = await connect(database.url);
  await other.query("SET application_name = 'dba'; BEGIN; LOCK user_profiles");
  await expect(verify(knex)).rejects.toThrow(
    /^user_profiles is in use: no ACCESS SHARE lock in time\nHeld by pid \d+, user \w+, application 'dba', idle in transaction/,
  );
  await other.end();
  expect((await verify(knex)).asDeclared).toBe(true);
});
