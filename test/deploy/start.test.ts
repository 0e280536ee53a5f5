import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { embeddedCluster } from '../../src/database/embedded';
import { project, projectArguments, projectCommand, run } from '../support/knex';
import { guard, removeServer } from '../support/server';

/** A clone of the project, with the packages of this one. */
function clone(): string {
  const folder = fs.mkdtempSync(join(tmpdir(), 'clone-'));
  for (const name of ['knexfile.ts', 'package.json', 'tsconfig.json', 'migrations', 'seeds', 'src']) {
    fs.cpSync(join(project, name), join(folder, name), { recursive: true });
  }
  fs.symlinkSync(join(project, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

test('npm start, again, and what it says to try next', async () => {
  const folder = clone();
  const cluster = embeddedCluster(folder);
  const { data } = cluster;
  guard(data);
  const here = (...args: string[]) => run(process.execPath, args, {}, folder);
  const command = (name: string, ...args: string[]) => here(...projectArguments(name), ...args);
  const knex = (...args: string[]) => here('node_modules/knex/bin/cli.js', ...args);

  const embedded = (what: string) =>
    `No database is configured (DATABASE_URL, ...): this is the embedded sample server, which is running, with ${what}. npm run db:stop stops it.\n`;
  const first = await command('start');
  expect(first).toMatchObject({ code: 0, stderr: embedded('nothing in it yet (npm start fills it)') });
  expect(first.stdout).toMatch(
    /ProgrammingError: column "failed_login_attempts" of relation "user_profiles" does not exist\n.*\nIt succeeds/s,
  );
  expect(first.stdout).toContain('npx knex migrate:down 0016_add_security_fields ');
  const again = await command('start');
  expect(again).toMatchObject({ code: 0, stderr: embedded('2 tables of the application in it') });
  expect(again.stdout).toMatch(/It is taken back first:.*ProgrammingError: .*\nIt succeeds/s);

  expect((await knex('migrate:list')).stdout).toContain('Found 1 Completed');
  expect((await knex('migrate:down', '0016_add_security_fields')).stdout).toContain('Batch 1 rolled back');
  expect(await knex('seed:run')).toMatchObject({
    code: 0,
    stderr: embedded('2 tables of the application in it'),
  });
  expect((await knex('migrate:latest')).stdout).toContain('Batch 1 run: 1 migrations');

  expect((await command('db:stop')).stdout).toBe('Stopped.\n');
  expect((await command('db:stop')).stdout).toBe('It was not running.\n');
  expect((await knex('migrate:list')).stdout).toContain('Found 1 Completed');
  expect((await command('db:reset')).stdout).toBe('Deleted.\n');
  expect(fs.existsSync(data)).toBe(false);
  expect((await command('db:reset')).stdout).toBe('There was nothing to delete.\n');
  expect((await knex('migrate:list')).stdout).toContain('Found 1 Pending');

  removeServer(cluster);
  for (const path of [folder, dirname(data)]) fs.rmSync(path, { recursive: true, force: true });
}, 120_000);

test.each([
  { DATABASE_URL: 'postgres://h/real' },
  { DB_HOST: 'h' },
  { PGHOST: 'h' },
  { NODE_ENV: 'production' },
])('npm start has nothing to do with a database of yours: %j', async (env) => {
  const { code, stdout, stderr } = await projectCommand('start', [], env);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr.split('\n').length).toBeLessThanOrEqual(4);
  expect(stderr).toMatch(/^A demonstration, for the embedded server alone/);
});
