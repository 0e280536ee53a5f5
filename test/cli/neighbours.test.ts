import { join } from 'node:path';
import { declaredShape, shapeOf } from '../support/application';
import { schemaOf } from '../support/catalog';
import { databasePerTest } from '../support/database';
import { project } from '../support/knex';
import { ownMigrations } from './own-migrations';

// Our migration on the real command line, with a 0015 and a 0017 of the user's own beside it.
const database = databasePerTest('0015');
const own = ownMigrations(() => database().url);
const name = '0016_add_security_fields';
const ours = `module.exports = require(${JSON.stringify(join(project, 'migrations', name))});`;
const asDeclared = { ...declaredShape, mfa_backup_codes: 'jsonb' };

/** One that makes a table of this name, and drops it. */
const table = (of: string) => `
  exports.up = (knex) => knex.schema.createTable('${of}', (table) => table.increments());
  exports.down = (knex) => knex.schema.dropTable('${of}');`;

beforeEach(() => {
  process.env['MIGRATION_QUIET'] = '1';
  own().write('0015_before.js', table('before'));
  own().write(`${name}.js`, ours);
  own().write('0017_after.js', table('after'));
});

/** Runs a function of Knex's migrator, and gives what is recorded then. */
async function recordedAfter(verb: Verb, of?: string): Promise<string[]> {
  await own().migrate((migrator) => migrator[verb](...(of ? [{ name: of }] : [])));
  const { rows } = await database().client.query('SELECT name FROM knex_migrations ORDER BY id');
  return rows.map((row) => row.name.slice(0, 4));
}

type Verb = 'latest' | 'up' | 'down' | 'to' | 'list';

const shape = () => shapeOf(database().client);

test('migrate:before and migrate:to, by the name, on the command line', async () => {
  const before = await shape();
  expect(await own().knex('migrate:before', name)).toMatchObject({ code: 0, stderr: '' });
  expect(await recordedAfter('list')).toEqual(['0015']);
  expect(await shape()).toEqual(before);
  expect(await own().knex('migrate:to', name)).toMatchObject({ code: 0, stderr: '' });
  expect(await recordedAfter('to', name)).toEqual(['0015', '0016']);
  expect(await shape()).toEqual(asDeclared);
  expect(await recordedAfter('latest')).toEqual(['0015', '0016', '0017']);
});

test('migrate:to what comes after it', async () => {
  expect(await recordedAfter('to', '0017_after')).toEqual(['0015', '0016', '0017']);
  expect(await shape()).toEqual(asDeclared);
});

test('migrate:up and migrate:down by the name leave the others alone; without it Knex takes back the last', async () => {
  const before = await schemaOf(database().client);
  expect(await recordedAfter('up', name)).toEqual(['0016']);
  expect(await recordedAfter('latest')).toEqual(['0016', '0015', '0017']);
  expect(await own().knex('migrate:down', name)).toMatchObject({ code: 0, stderr: '' });
  expect(await recordedAfter('list')).toEqual(['0015', '0017']);
  expect(await own().knex('migrate:down')).toMatchObject({ code: 0, stderr: '' });
  expect(await recordedAfter('list')).toEqual(['0015']);
  expect(await recordedAfter('down')).toEqual([]);
  const left = await schemaOf(database().client);
  expect(left.filter((line) => !line.includes('_down_archive'))).toEqual(before);
});

describe('what Knex refuses is told in our words, and what is advised helps', () => {
  /** What latest says, which has to fail. */
  async function refusal(): Promise<string> {
    const { code, stderr } = await own().knex('migrate:latest');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.not.stringMatching(/^\s+at |corrupt|already/m),
    });
    return stderr;
  }

  test('a file that is gone: put it back', async () => {
    await recordedAfter('latest');
    own().remove('0017_after.js');
    expect(await refusal()).toMatch(/^"knex_migrations" records .*: 0017_after\. .*put the files back\.\n$/s);
    own().write('0017_after.js', table('after'));
    expect(await recordedAfter('down', name)).toEqual(['0015', '0017']);
  });

  test.each([
    ['set', 'UPDATE knex_migrations_lock SET is_locked = 1', "Knex's lock is set: "],
    ['there twice', 'INSERT INTO knex_migrations_lock VALUES (7, 0)', '"knex_migrations_lock" has 2 rows'],
  ])('a lock that is %s: migrate:unlock', async (_, statement, words) => {
    await recordedAfter('list');
    await database().client.query(statement);
    const said = await refusal();
    expect(said.startsWith(words)).toBe(true);
    expect(said).toContain('npx knex migrate:unlock');
    expect(await own().knex('migrate:unlock')).toMatchObject({ code: 0, stderr: '' });
    expect(await recordedAfter('latest')).toEqual(['0015', '0016', '0017']);
  });
});

describe("Knex's hooks", () => {
  const hook = (sql: string) => `(knex) => knex.raw(${JSON.stringify(sql)})`;
  const read = hook('SELECT count(*) FROM user_profiles');
  const write = hook('UPDATE user_profiles SET user_id = user_id');

  /** There and back, with these hooks. */
  async function works(hooks: Readonly<Record<string, string>>): Promise<string> {
    const texts = Object.entries(hooks).map(([when, text]) => `${when}: ${text}`);
    own().write('.hooks.js', `module.exports = { ${texts.join(', ')} };`);
    const latest = await own().knex('migrate:latest');
    expect(latest).toMatchObject({ code: 0, stderr: '' });
    expect(await shape()).toEqual(asDeclared);
    expect(await recordedAfter('down', name)).toEqual(['0015', '0017']);
    return latest.stdout;
  }

  test.each<[string, Record<string, string>]>([
    ['all of them read the table', { beforeAll: read, beforeEach: read, afterEach: read, afterAll: read }],
    ['all of them write to it', { beforeAll: write, beforeEach: write, afterEach: write, afterAll: write }],
    ['the first one locks it', { beforeAll: hook('SELECT * FROM user_profiles FOR UPDATE') }],
  ])("%s: the change is made in Knex's transaction", async (_, hooks) => {
    expect(await works(hooks)).toContain(
      'batch of Knex holds the table already: the change is made in its transaction.',
    );
  });

  test('one that comes after it sees the new columns', async () => {
    const see = hook('SELECT mfa_backup_codes FROM user_profiles');
    const stdout = await works({
      afterAll: `(knex, [{ file }]) => file === '0015_before' && (${see})(knex)`,
    });
    expect(stdout).not.toContain('holds the table');
  });

  test('one that fails: the change stays, unrecorded, and the next latest goes on from there', async () => {
    own().write('.hooks.js', `exports.afterAll = ${hook('SELECT 1/0')};`);
    expect(await own().knex('migrate:latest')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('division by zero'),
    });
    expect(await shape()).toEqual(asDeclared);
    own().remove('.hooks.js');
    expect(await recordedAfter('latest')).toEqual(['0015', '0016', '0017']);
  });
});
