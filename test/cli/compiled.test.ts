import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { databasePerTest } from '../support/database';
import { project, run } from '../support/knex';

const database = databasePerTest('0015');
let image: string;

/** What goes to production: the compiled files, and the packages that production needs. */
beforeAll(() => {
  image = fs.mkdtempSync(join(tmpdir(), 'image-'));
  execFileSync(
    process.execPath,
    ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', join(image, 'dist')],
    {
      cwd: project,
    },
  );
  for (const name of ['program/frame', 'program/up', 'program/down', 'inspect/advice']) {
    const file = `src/${name}.sql`;
    fs.copyFileSync(join(project, file), join(image, 'dist', file));
  }
  fs.copyFileSync(join(project, 'package.json'), join(image, 'package.json'));
  const { packages } = JSON.parse(fs.readFileSync(join(project, 'package-lock.json'), 'utf8'));
  for (const [path, { dev, devOptional }] of Object.entries<{ dev?: true; devOptional?: true }>(packages)) {
    if (!path || dev || devOptional || !fs.existsSync(join(project, path))) continue;
    fs.cpSync(join(project, path), join(image, path), { recursive: true });
  }
});

afterAll(() => fs.rmSync(image, { recursive: true }));

const knexArguments = ['node_modules/knex/bin/cli.js', '--knexfile', 'dist/knexfile.js'];

function knex(command: string, env = {}) {
  return run(process.execPath, [...knexArguments, command], env, image);
}

test('works without TypeScript and without the embedded server', async () => {
  expect(fs.existsSync(join(image, 'node_modules/typescript'))).toBe(false);
  const env = { NODE_ENV: 'production', DATABASE_URL: database().url };
  expect(await knex('migrate:latest', env)).toMatchObject({ code: 0, stderr: '' });
  expect((await knex('migrate:list', env)).stdout).toContain('\n0016_add_security_fields\nNo Pending');
  expect(await knex('migrate:down', env)).toMatchObject({ code: 0, stderr: '' });
});

test('reads the .env beside package.json', async () => {
  fs.writeFileSync(join(image, '.env'), `DATABASE_URL=${database().url}\n`);
  const args = ['-u', 'DOTENV_CONFIG_PATH', process.execPath, ...knexArguments, 'migrate:list'];
  expect(await run('env', args, { NODE_ENV: 'production' }, image)).toMatchObject({ code: 0, stderr: '' });
  fs.rmSync(join(image, '.env'));
});

test('says what is missing where there is neither a database nor the embedded server', async () => {
  const { code, stderr } = await knex('migrate:list');
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^No database is configured: set DATABASE_URL.*\n\(The embedded PostgreSQL is not installed/,
  );
});
