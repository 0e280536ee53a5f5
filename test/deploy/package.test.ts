import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Environment } from '../../src/database/connection';
import { connect, loadState } from '../support/database';
import { project } from '../support/knex';
import { bin, cli, installed, nodeIn, write as writeIn } from './installed';

const here = installed('old-knex@npm:knex@3.0.1');
const write = (files: Readonly<Record<string, string>>, folder: string) =>
  writeIn(join(here().root, folder), files);
const node = (folder: string, args: readonly string[], env: Environment = {}) =>
  nodeIn(here(), folder, args, env);

test('what is packed is what is needed', () => {
  const [own, more] = [
    /^dist\/(knexfile|migrations\/0016_add_security_fields|src\/[a-z/-]+)(\.d\.ts|\.js)$/,
    /^(dist\/src\/(program|inspect)\/\w+\.sql|sql\/\w+\.sql|docs\/[A-Z_]+\.md)$/,
  ];
  const known = ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md'];
  expect(
    here().packed.filter((path) => !own.test(path) && !more.test(path) && !known.includes(path)),
  ).toEqual([]);
  expect(here().packed.filter((path) => /test|seed|bench|sample/.test(path))).toEqual([]);
  expect(here().packed).toEqual(
    expect.arrayContaining([
      'dist/migrations/0016_add_security_fields.js',
      'dist/migrations/0016_add_security_fields.d.ts',
      'dist/src/table-change.js',
      'dist/src/table-change.d.ts',
      'dist/src/commands/cli.js',
      'dist/src/program/frame.sql',
      'dist/src/program/up.sql',
      'dist/src/program/down.sql',
      'dist/src/inspect/advice.sql',
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
    await loadState(here().database.client, '0015');
    const latest = node('cjs', [cli, 'migrate:latest']);
    const admin = await connect(here().database.adminUrl);
    const sleeping = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query = 'SELECT pg_sleep(3)'`;
    while ((await admin.query(sleeping)).rows.length === 0)
      await new Promise((resolve) => setTimeout(resolve, 50));
    await here().database.client.query(`UPDATE user_profiles SET mfa_backup_codes = NULL`);
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
  await loadState(here().database.client, '0015');
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
    await loadState(here().database.client, '0015');
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

test('the command', async () => {
  await loadState(here().database.client, '0015');
  write({ 'package.json': '{}', '.env': `DATABASE_URL=${here().database.url}\n` }, 'command');
  const own = { DATABASE_URL: undefined, DOTENV_CONFIG_PATH: undefined };
  const shim = process.platform === 'win32' ? [bin] : ['../node_modules/.bin/add-security-fields'];
  // Another project's record is no trouble of ours.
  await here().database.client.query(`CREATE TABLE knex_migrations (id serial PRIMARY KEY, name text, batch int, migration_time timestamptz);
    INSERT INTO knex_migrations (name) VALUES ('20250101_mine.js')`);
  expect(await node('command', [...shim, 'plan'], own)).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringContaining('RENAME COLUMN backup_codes TO mfa_backup_codes'),
  });
  expect(await node('command', [...shim, 'verify'], own)).toMatchObject({ code: 1, stderr: '' });
  expect(await node('command', [...shim, 'script', '.'], own)).toMatchObject({ code: 0, stderr: '' });
  expect(readFileSync(join(here().root, 'command/add_security_fields.sql'), 'utf8')).toBe(
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
