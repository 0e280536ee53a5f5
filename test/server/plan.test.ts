import type { Knex } from 'knex';
import { plan } from '../../migrations/0016_add_security_fields';
import { everythingIn } from '../support/catalog';
import { connect, databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { migrateWith } from '../support/routes';

const here = databasePerTest('0015');
let knex: Knex;
beforeEach(async () => {
  knex = await knexFor(here().url);
});
afterEach(() => knex.destroy());

const everything = () => everythingIn(here().client);
const words = async (direction?: 'up' | 'down') =>
  (await plan(knex, direction)).rules.flatMap((rule) => rule.words.map((word) => `user_profiles: ${word}`));

test('it says, in order, exactly what is then done', async () => {
  const planned = await words();
  const before = await everything();
  // Before 11: also that it rewrites the table.
  expect(planned).toHaveLength(serverVersion < 11 ? 15 : 14);
  expect(await everything()).toEqual(before);
  expect(await migrateWith(knex, 'up')).toEqual(planned);
  expect(await words()).toEqual([]);
});

test('on the way back as well, with the number of rows left open', async () => {
  await migrateWith(knex, 'up');
  await here().client.query("UPDATE user_profiles SET external_id = 'x'");
  const planned = await words('down');
  expect(await words('down')).toContainEqual(
    expect.stringMatching(/archive \{rows\} rows with values of .*external_id/),
  );
  const done = await migrateWith(knex, 'down');
  expect(done.map((line) => line.replace(/(archive|fill) \d+ /, '$1 {rows} '))).toEqual(planned);
});

test('the way back before there is anything to take back', async () => {
  const found = await plan(knex, 'down');
  expect(found.rules).toEqual([expect.objectContaining({ phase: 'note', sql: null })]);
  expect(found.conflicts).toEqual([]);
  expect(found.lines).toContain('down: nothing to do');
});

test('size, rows, and how many columns are still possible', async () => {
  await here().client.query('ANALYZE user_profiles');
  const { bytes, rows, columnsLeft, table, direction } = await plan(knex);
  expect({ bytes, rows, columnsLeft, table, direction }).toEqual({
    bytes: 8192,
    rows: 20,
    columnsLeft: 1600 - 14,
    table: 'user_profiles',
    direction: 'up',
  });
});

test('conflicts, each with what to do; whoever may not alter still sees the plan', async () => {
  const { client, admin, name, url } = here();
  await client.query('ALTER TABLE user_profiles ADD external_id uuid');
  expect((await plan(knex)).conflicts).toEqual([
    {
      problem: 'external_id is uuid, and the application needs varchar(255)',
      advice: expect.stringMatching(/^Rename or convert it first, for example: ALTER TABLE/),
    },
  ]);
  await admin.query(`CREATE ROLE ${name}_reader LOGIN PASSWORD 'r'`);
  await knex.migrate.currentVersion();
  const reader = await knexFor(
    Object.assign(new URL(url), { username: `${name}_reader`, password: 'r' }).toString(),
  );
  try {
    const found = await plan(reader);
    expect(found.conflicts.map(({ problem }) => problem)).toContainEqual(
      expect.stringContaining(`user_profiles belongs to ${here().owner}`),
    );
    expect(found.conflicts).toHaveLength(2);
    expect(found.rules.length).toBeGreaterThan(0);
    expect(found.knexLock).toBeNull();
  } finally {
    await reader.destroy();
    await admin.query(`DROP ROLE ${name}_reader`);
  }
});

test('a refusal that depends on values: no primary key', async () => {
  const { client } = here();
  await client.query('ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey');
  await migrateWith(knex, 'up');
  expect((await plan(knex, 'down')).conflicts).toEqual([]);
  await client.query("UPDATE user_profiles SET external_id = 'x' WHERE user_id = 1");
  expect((await plan(knex, 'down')).conflicts).toEqual([
    expect.objectContaining({ problem: expect.stringContaining('the table has no primary key') }),
  ]);
});

test('who holds a transaction on the table; no value of a query is shown', async () => {
  const other = await connect(here().url);
  await other.query("SET application_name = 'report'; BEGIN");
  await other.query("SELECT count(*) FROM user_profiles WHERE mfa_secret = 'SECRET' OR phone = $$SECRET$$");
  const { holders, lines } = await plan(knex);
  expect(holders).toMatch(
    /^pid \d+, user \w+, application 'report', idle in transaction, transaction open for [\d.]+ s: SELECT/,
  );
  expect(lines.join('\n')).not.toContain('SECRET');
  await other.query('ROLLBACK');
  expect((await plan(knex)).holders).toBeNull();
  await other.end();
});

test('it makes nobody wait, and does not wait itself', async () => {
  const other = await connect(here().url);
  await other.query('BEGIN; UPDATE user_profiles SET phone = phone');
  const started = performance.now();
  await plan(knex);
  await other.query('ROLLBACK; BEGIN; LOCK user_profiles');
  await expect(plan(knex)).rejects.toThrow(/^user_profiles is locked: .*\nHeld by pid/);
  expect(performance.now() - started).toBeLessThan(3_000);
  await other.query('ROLLBACK');
  // What it holds while it looks lets everybody but ACCESS EXCLUSIVE pass.
  const transaction = await knex.transaction();
  await plan(transaction);
  const { rows } = await transaction.raw(
    "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation = 'user_profiles'::regclass",
  );
  await transaction.rollback();
  expect(rows.filter(({ mode }: { mode: string }) => mode !== 'AccessShareLock')).toEqual([]);
  await other.end();
});

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

test('recorded by Knex and not there: latest would do nothing, and that is said', async () => {
  const said = expect.stringMatching(/^Knex has it recorded, so npx knex migrate:latest would do nothing/);
  await here().client.query('CREATE TABLE knex_migrations (name text)');
  expect((await plan(knex)).lines).not.toContainEqual(said);
  await here().client.query("INSERT INTO knex_migrations VALUES ('0016_add_security_fields')");
  expect((await plan(knex)).lines).toContainEqual(said);
  expect((await plan(knex, 'down')).lines).not.toContainEqual(said);
});
