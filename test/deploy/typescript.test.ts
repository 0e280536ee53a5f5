import { join } from 'node:path';
import type { Environment } from '../../src/database/connection';
import { cli, installed, nodeIn, write as writeIn } from './installed';

const here = installed();
const write = (files: Readonly<Record<string, string>>, folder: string) =>
  writeIn(join(here().root, folder), files);
const node = (folder: string, args: readonly string[], env: Environment = {}) =>
  nodeIn(here(), folder, args, env);

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
    const { admin, owner } = here().database;
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
    expect(latest.stdout).toContain('This batch of Knex holds the table already');
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
