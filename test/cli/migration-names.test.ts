import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationSource } from '../../src/migration-source';
import { databasePerTest, loadState } from '../support/database';
import { knexCommand, knexFor, project } from '../support/knex';

const database = databasePerTest('0015');
const name = '0016_add_security_fields';

function knex(...args: string[]) {
  return knexCommand(args, { DATABASE_URL: database().url });
}

async function recorded(table = 'knex_migrations') {
  const { rows } = await database().client.query(`SELECT name FROM ${table}`);
  return rows.map((row) => row.name);
}

test('list, up and down show and take the name without extension', async () => {
  expect((await knex('migrate:list')).stdout).toMatch(
    new RegExp(`Found 1 Pending Migration file/files.\n${name}\n`),
  );
  expect(await knex('migrate:up', name)).toMatchObject({ code: 0, stderr: '' });
  expect(await recorded()).toEqual([name]);
  expect((await knex('migrate:list')).stdout).toMatch(
    new RegExp(`Found 1 Completed Migration file/files.\n${name}\n`),
  );
  expect(await knex('migrate:down', name)).toMatchObject({ code: 0, stderr: '' });
  expect(await recorded()).toEqual([]);
});

test('a name that is none', async () => {
  const { code, stderr } = await knex('migrate:up', `${name}.ts`);
  expect(code).toBe(1);
  expect(stderr).toContain(`Migration "${name}.ts" not found.`);
});

test('MIGRATIONS_TABLE keeps out of the way of another Knex project', async () => {
  await database().client.query(`
    CREATE TABLE knex_migrations (id serial PRIMARY KEY, name text, batch int, migration_time timestamptz);
    INSERT INTO knex_migrations (name, batch) VALUES ('20200101_of_the_other_project.js', 1)`);
  const DATABASE_URL = database().url;
  expect(await knexCommand(['migrate:list'], { DATABASE_URL })).toMatchObject({ code: 1 });
  const env = { DATABASE_URL, MIGRATIONS_TABLE: 'security_migrations' };
  expect(await knexCommand(['migrate:latest'], env)).toMatchObject({ code: 0, stderr: '' });
  expect(await recorded('security_migrations')).toEqual([name]);
  expect(await recorded()).toEqual(['20200101_of_the_other_project.js']);
});

test('DB_SCHEMA takes table and record to that schema', async () => {
  const { client, url } = database();
  await client.query('CREATE SCHEMA "Their Schema"; SET search_path = "Their Schema"');
  await loadState(client, '0015');
  const env = { DATABASE_URL: url, DB_SCHEMA: 'Their Schema' };
  expect(await knexCommand(['migrate:latest'], env)).toMatchObject({ code: 0, stderr: '' });
  expect(await recorded('"Their Schema".knex_migrations')).toEqual([name]);
  const { rows } = await client.query(
    `SELECT table_schema FROM information_schema.columns WHERE column_name = 'failed_login_attempts'`,
  );
  expect(rows).toEqual([{ table_schema: 'Their Schema' }]);
});

test('TypeScript today and JavaScript tomorrow are one history', async () => {
  mkdirSync(join(project, '.postgres'), { recursive: true });
  const folder = mkdtempSync(join(project, '.postgres/migrations-'));
  const latest = async () => {
    const knex = await knexFor(database().url, {
      migrations: { migrationSource: new MigrationSource(folder) },
    });
    try {
      return await knex.migrate.latest();
    } finally {
      await knex.destroy();
    }
  };
  const code = 'exports.up = async () => {}; exports.down = async () => {};';
  writeFileSync(join(folder, '0001_a.ts'), code);
  expect(await latest()).toEqual([1, ['0001_a']]);
  rmSync(join(folder, '0001_a.ts'));
  for (const file of ['0001_a.js', '0001_a.d.ts', '0001_a.js.map', '0002_b.js'])
    writeFileSync(join(folder, file), code);
  expect(await latest()).toEqual([2, ['0002_b']]);
  rmSync(folder, { recursive: true });
});
