import type { Knex } from 'knex';
import { plan, verify } from '../../migrations/0016_add_security_fields';
import { connect, databasePerTest } from '../support/database';
import { knexFor } from '../support/knex';
import { migrateWith, scripts } from '../support/routes';

// What plan and verify say of Knex's own tables, and of Django's.
const here = databasePerTest('0015');
let knex: Knex;
beforeEach(async () => {
  knex = await knexFor(here().url);
});
afterEach(() => knex.destroy());

describe("Knex's lock", () => {
  test('no table yet, free, stale', async () => {
    expect((await plan(knex)).knexLock).toBeNull();
    await knex.migrate.list();
    await knex.migrate.currentVersion();
    expect((await plan(knex)).knexLock).toBe('free');
    await here().client.query('UPDATE knex_migrations_lock SET is_locked = 1');
    const found = await plan(knex);
    expect(found.knexLock).toBe('stale');
    expect(found.lines.at(-1)).toContain('npx knex migrate:unlock');
    await knex.migrate.forceFreeMigrationsLock();
    expect((await plan(knex)).knexLock).toBe('free');
    // Knex takes two rows for a lock that is set.
    await here().client.query('INSERT INTO knex_migrations_lock (is_locked) VALUES (0)');
    expect((await plan(knex)).knexLock).toBe('stale');
    await knex.migrate.forceFreeMigrationsLock();
    expect((await plan(knex)).knexLock).toBe('free');
  });

  test('held while a migration runs', async () => {
    await knex.migrate.list();
    const other = await connect(here().url);
    await other.query('BEGIN; SELECT FROM user_profiles');
    const lines: string[] = [];
    const log = jest.spyOn(console, 'log').mockImplementation((line) => lines.push(line));
    const running = knex.migrate.latest();
    while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    const found = await plan(knex);
    expect(found.knexLock).toBe('held');
    expect(found.lines).toContain('A migration is running now.');
    await other.query('ROLLBACK');
    await running;
    log.mockRestore();
    await other.end();
    expect((await plan(knex)).knexLock).toBe('free');
  });
});

const record = (...names: readonly string[]) =>
  here().client.query(`CREATE TABLE IF NOT EXISTS knex_migrations (name text); DELETE FROM knex_migrations;
    ${names.map((name) => `INSERT INTO knex_migrations VALUES ('${name}');`).join('')}`);

test.each(['0016_add_security_fields', '20260101_security_fields.js'])('recorded as %s', async (name) => {
  await record(name);
  const tooEarly = `npx knex migrate:latest would do nothing: npx knex migrate:down ${name} deletes the record, `;
  for (const look of [plan, verify]) {
    const { recorded, lines } = await look(knex);
    expect([recorded, lines.join('\n')]).toEqual([name, expect.stringContaining(tooEarly)]);
  }
  expect((await plan(knex, 'down')).lines.join('\n')).not.toMatch(/would not find it|would do nothing/);
  await migrateWith(knex, 'up');
  expect((await plan(knex)).lines.join('\n')).not.toContain(tooEarly);
  expect((await verify(knex)).lines).toContain(`✓ recorded by Knex as ${name}`);
});

test('recorded, made, and changed since: down would take all of it back', async () => {
  await record('0016_add_security_fields');
  await migrateWith(knex, 'up');
  await here().client.query('ALTER TABLE user_profiles ALTER email_verified DROP DEFAULT');
  for (const look of [plan, verify]) {
    const said = (await look(knex)).lines.join('\n');
    expect(said).toContain('would do nothing: its SQL script does what is left, and the record stays');
    expect(said).not.toMatch(/migrate:down|Prepared statements/);
  }
  await scripts.up(here());
  expect((await verify(knex)).asDeclared).toBe(true);
});

// Somebody else's: were it named, it would be taken back, and might drop a table.
test.each([[], ['0016_create_orders.js', '0009_hr_security_fields.js']])('not recorded', async (...names) => {
  await record(...names);
  const [planned, verified] = [await plan(knex), await verify(knex)];
  expect([planned.recorded, verified.recorded]).toEqual([false, false]);
  expect(planned.lines.join('\n')).not.toContain('Knex has it recorded');
  expect(verified.lines.join('\n')).toMatch(
    /^- not recorded by Knex: npx knex migrate:latest makes and records it, /m,
  );
  const notFound = 'npx knex migrate:down would not find it';
  expect((await plan(knex, 'down')).lines.join('\n')).not.toContain(notFound);
  await migrateWith(knex, 'up');
  expect((await plan(knex, 'down')).lines.join('\n')).toContain(notFound);
});

test.each([
  ['another project has recorded its own', '0016_create_orders.js', /MIGRATIONS_TABLE=/],
  ['the name of a file', '0016_add_security_fields.js', /^UPDATE .*;$/m],
])('plan foresees that Knex would refuse: %s', async (_, name, advice) => {
  await knex.migrate.list();
  await here().client.query(
    `INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('${name}', 1, now())`,
  );
  const [foreseen = ''] = (await plan(knex)).conflicts;
  expect(foreseen).toMatch(advice);
  await expect(knex.migrate.latest()).rejects.toThrow(foreseen);
});

test('hidden from this role', async () => {
  await record();
  await here().client.query('REVOKE SELECT ON knex_migrations FROM CURRENT_USER');
  const { recorded, lines } = await verify(knex);
  expect([recorded, lines]).toEqual([
    null,
    expect.arrayContaining([expect.stringContaining('no table here that this role can read')]),
  ]);
});

test.each([
  ['0015_x', 1],
  ['0016_add_security_fields', 0],
])('django_migrations with %s: %i hints with the command', async (name, count) => {
  await migrateWith(knex, 'up');
  await here().client.query(`CREATE TABLE django_migrations (app varchar(255), name varchar(255));
    INSERT INTO django_migrations VALUES ('healthcare', '${name}'), ('other', '0016_add_security_fields')`);
  const { hints, asDeclared } = await verify(knex);
  const fake = 'python manage.py migrate healthcare 0016_add_security_fields --fake';
  expect(asDeclared).toBe(true);
  expect(hints.filter((hint) => hint.includes(count > 0 ? fake : 'manage.py'))).toHaveLength(count);
});
