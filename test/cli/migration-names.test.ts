import { databasePerTest, loadState } from '../support/database';
import { knexCommand } from '../support/knex';
import { ownMigrations } from './own-migrations';

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

test.each(['ops.knex_migrations', 'a'.repeat(59)])('MIGRATIONS_TABLE=%s is refused', async (table) => {
  const env = { DATABASE_URL: database().url, MIGRATIONS_TABLE: table };
  const { code, stderr } = await knexCommand(['migrate:latest'], env);
  expect([code, stderr]).toEqual([
    1,
    expect.stringContaining('It is a name of up to 58 letters, without a schema.\n'),
  ]);
  expect(stderr).not.toMatch(/^ +at /m);
});

const own = ownMigrations(() => database().url);

test('TypeScript today and JavaScript tomorrow are one history', async () => {
  const { knex, write, remove } = own();
  const latest = () => knex('migrate:latest');
  write('0001_a.ts');
  expect(await latest()).toMatchObject({ code: 0, stderr: '' });
  expect(await recorded()).toEqual(['0001_a']);
  remove('0001_a.ts');
  for (const file of ['0001_a.js', '0001_a.d.ts', '0001_a.js.map', '0002_b.js']) write(file);
  expect(await latest()).toMatchObject({ code: 0, stderr: '' });
  expect(await recorded()).toEqual(['0001_a', '0002_b']);
});

test('modules of both kinds and names with a second dot are run, others are refused by name', async () => {
  const { knex, write, remove } = own();
  const latest = () => knex('migrate:latest');
  write('0017_more.cjs');
  write('0018_module.mjs', 'export const up = async () => {}, down = up;');
  write('release_2.1.ts');
  expect(await latest()).toMatchObject({ code: 0, stderr: '' });
  expect(await recorded()).toEqual(['0017_more', '0018_module', 'release_2.1']);
  // Whether they are run is a matter of the version of Node.js.
  for (const file of ['0019_module.mts', '0020_common.cts']) {
    write(file, 'export const up = async () => {}, down = up;');
    const { code, stderr } = await latest();
    if (code === 0) expect(await recorded()).toContain(file.slice(0, -4));
    else expect(stderr).toContain(`/${file}`);
    remove(file);
    await database().client.query("DELETE FROM knex_migrations WHERE name ~ '^00(19|20)'");
  }
});
