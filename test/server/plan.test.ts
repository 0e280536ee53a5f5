import type { Knex } from 'knex';
import { plan } from '../../migrations/0016_add_security_fields';
import { everythingIn } from '../support/catalog';
import { connect, databasePerTest, urlWith } from '../support/database';
import { knexFor } from '../support/knex';
import { migrateWith } from '../support/routes';

const here = databasePerTest('0015');
let knex: Knex;
beforeEach(async () => {
  knex = await knexFor(here().url);
});
afterEach(() => knex.destroy());

const everything = () => everythingIn(here().client);
const steps = async (direction?: 'up' | 'down') =>
  (await plan(knex, direction)).steps.flatMap((step) =>
    step.startsWith('LOCK TABLE') ? [] : [step.replace(/;( -- only if.*)?$/, '')],
  );

/** What it warns of on every server: before 11 a default rewrites the table besides (versions.test.ts). */
const warnings = async (direction?: 'up' | 'down') =>
  (await plan(knex, direction)).warnings.filter((line) => !line.includes('before PostgreSQL 11'));

test('it says, in order, exactly what is then done', async () => {
  const planned = await steps();
  const before = await everything();
  expect(planned).toEqual([
    expect.stringMatching(/^CREATE TABLE public\.user_profiles_0016_before /),
    'ALTER TABLE public.user_profiles RENAME COLUMN backup_codes TO mfa_backup_codes',
    expect.stringMatching(
      /^ALTER TABLE public\.user_profiles\n {2}ADD COLUMN failed_login_attempts integer DEFAULT 0 NOT NULL,\n/,
    ),
  ]);
  expect(await everything()).toEqual(before);
  expect(await migrateWith(knex, 'up')).toEqual(planned);
  expect(await steps()).toEqual([]);
  expect((await plan(knex)).notes).toEqual(['user_profiles: nothing to do']);
});

test('on the way back as well, but for the number of rows', async () => {
  await migrateWith(knex, 'up');
  await here().client.query(
    "UPDATE user_profiles SET external_id = 'x'; UPDATE user_profiles SET mfa_backup_codes = NULL WHERE id = 2",
  );
  const planned = await steps('down');
  const done = await migrateWith(knex, 'down');
  expect(done).toContainEqual(expect.stringMatching(/_down_archive .* \(20 rows\)$/s));
  expect(done.map((line) => line.replace(/ \(\d+ rows\)$/, ''))).toEqual(planned);
});

test('the way back before there is anything to take back', async () => {
  const { conflicts, notes, steps } = await plan(knex, 'down');
  expect({ conflicts, steps }).toEqual({ conflicts: [], steps: [] });
  expect(notes).toContainEqual(
    expect.stringMatching(/^user_profiles: nothing to take back: there is no table/),
  );
});

test('size and rows; that columns run out only where they do', async () => {
  const { client } = here();
  await client.query('ANALYZE user_profiles');
  const { bytes, rows, table, direction, lines } = await plan(knex);
  expect({ bytes, rows, table, direction }).toEqual({
    bytes: 8192,
    rows: 20,
    table: 'user_profiles',
    direction: 'up',
  });
  expect(lines[1]).toBe('user_profiles: about 20 rows, 0.0 MB');
  expect(await warnings()).toEqual([]);
  // A dropped column keeps its number.
  await client.query(`DO $$ BEGIN FOR n IN 1 .. 1500 LOOP
    ALTER TABLE user_profiles ADD COLUMN x text; ALTER TABLE user_profiles DROP COLUMN x; END LOOP; END $$`);
  expect(await warnings()).toEqual([expect.stringMatching(/^only 86 more columns are possible/)]);
});

test('conflicts, each with what to do; whoever may not alter still sees the plan', async () => {
  const { client, admin, name, url } = here();
  await client.query('ALTER TABLE user_profiles ADD external_id uuid');
  const conflict = expect.stringMatching(
    /^external_id is uuid, and the application needs character varying\(255\)\. Rename or convert/,
  );
  const refused = await plan(knex);
  expect(refused.conflicts).toEqual([conflict]);
  expect(refused.steps.join('\n')).toContain('ADD COLUMN auth_provider');
  await client.query('ALTER TABLE user_profiles DROP external_id');
  await admin.query(`CREATE ROLE ${name}_reader LOGIN PASSWORD 'r'`);
  await knex.migrate.currentVersion();
  const reader = await knexFor(urlWith(url, { username: `${name}_reader`, password: 'r' }));
  try {
    const found = await plan(reader);
    expect(found.conflicts).toEqual([
      `it belongs to ${here().owner}, and only its owner may alter it; this session is ${name}_reader\n` +
        `Run it as ${here().owner}, or as a member of that role.`,
    ]);
    expect(found.steps.length).toBeGreaterThan(0);
    expect(found.knexLock).toBeNull();
    await admin.query(`GRANT ${here().owner} TO ${name}_reader`);
    expect((await plan(reader)).conflicts).toEqual([]);
  } finally {
    await reader.destroy();
    await admin.query(`DROP ROLE ${name}_reader`);
  }
});

test('a session that is read-only, and a schema in which the owner may create nothing', async () => {
  const { client, admin, name, owner } = here();
  await admin.query(`ALTER SCHEMA public OWNER TO CURRENT_USER; REVOKE CREATE ON SCHEMA public FROM PUBLIC, ${owner};
    ALTER DATABASE ${name} SET default_transaction_read_only = on`);
  const again = await knexFor(here().url);
  const { conflicts } = await plan(again);
  await again.destroy();
  expect(conflicts).toEqual([
    expect.stringMatching(/^this session is read-only\nSee where that comes from: SELECT source/),
    expect.stringMatching(
      /^a table is kept beside it, and its owner test_\w+ may not create one in schema public\n/,
    ),
  ]);
  const [, grant = ''] = /(GRANT .*;) /.exec(conflicts[1] ?? '') ?? [];
  await admin.query(`ALTER DATABASE ${name} RESET ALL; ${grant}`);
  expect((await plan(knex)).conflicts).toEqual([]);
  await migrateWith(knex, 'up');
  // Nothing is created any more.
  await admin.query(grant.replace('GRANT', 'REVOKE').replace(' TO ', ' FROM '));
  expect((await plan(knex)).conflicts).toEqual([]);
  expect((await client.query('SELECT external_id FROM user_profiles')).rowCount).toBe(20);
});

describe('columns elsewhere of the row type of the table', () => {
  test.each([
    ['a table', 'CREATE TABLE changes (old user_profiles)', 'column old of public.changes'],
    ['its array', 'CREATE TABLE changes (olds user_profiles[])', 'column olds of public.changes'],
    [
      'a domain of its array',
      'CREATE DOMAIN many AS user_profiles[]; CREATE TABLE changes (olds many)',
      'column olds of public.changes',
    ],
    [
      'a typed table',
      'CREATE TYPE change AS (old user_profiles); CREATE TABLE changes OF change',
      'column old of public.changes',
    ],
    [
      'a materialized view',
      'CREATE MATERIALIZED VIEW changes AS SELECT p FROM user_profiles p',
      'column p of public.changes',
    ],
    [
      'what a killed pg_repack leaves',
      'CREATE SCHEMA repack; CREATE TABLE repack.log_1 (id bigserial PRIMARY KEY, row user_profiles)',
      'column "row" of repack.log_1',
    ],
  ])('%s: a conflict, and its advice works', async (_, statement, column) => {
    const { client } = here();
    await client.query(statement);
    const { conflicts } = await plan(knex);
    expect(conflicts).toEqual([expect.stringMatching(`^${column} is of the table's row type: `)]);
    await expect(migrateWith(knex, 'up')).rejects.toThrow(/is left as it was: cannot alter table/);
    const [, remedy = ''] = /\n(?:A pg_repack was killed: )?(.*?;)(?: |$)/.exec(conflicts[0] ?? '') ?? [];
    // The extension itself is not to be had here; what it would take along is.
    if (statement.includes('typed') || statement.includes('OF change')) {
      await client.query('DROP TABLE changes');
    } else {
      await client.query(remedy.replace('DROP EXTENSION pg_repack CASCADE', 'DROP SCHEMA repack CASCADE'));
    }
    expect((await plan(knex)).conflicts).toEqual([]);
    await migrateWith(knex, 'up');
  });

  test('none where no type changes and no column with a default comes, nor of a view', async () => {
    const { client } = here();
    await client.query('CREATE VIEW changes AS SELECT p FROM user_profiles p');
    expect((await plan(knex)).conflicts).toEqual([]);
    await migrateWith(knex, 'up');
    await client.query(
      'CREATE TABLE kept (old user_profiles); ALTER TABLE user_profiles DROP COLUMN external_id',
    );
    expect((await plan(knex)).conflicts).toEqual([]);
    await migrateWith(knex, 'up');
  });
});

test('what may refuse what the application stores: CHECK constraints, on the way there', async () => {
  await here().client.query(`ALTER TABLE user_profiles ADD CONSTRAINT codes_are_there CHECK (backup_codes IS NOT NULL),
    ADD CONSTRAINT token_length CHECK (char_length(email_verification_token) <= 100),
    ADD CONSTRAINT is_told CHECK (email_verified IS NOT NULL), ADD CONSTRAINT other CHECK (phone <> '')`);
  expect(await warnings()).toEqual([
    'constraint codes_are_there refuses NULL, which the application stores: ' +
      'ALTER TABLE public.user_profiles DROP CONSTRAINT codes_are_there;',
    'constraint token_length of public.user_profiles may refuse what the application stores: ' +
      'CHECK ((char_length((email_verification_token)::text) <= 100))',
  ]);
  expect(await warnings('down')).toEqual([]);
});

test('functions whose text has a column that goes, unless it has the new name as well', async () => {
  await here().client.query(`
    SET check_function_bodies = off;
    CREATE FUNCTION report() RETURNS bigint LANGUAGE sql AS 'SELECT count(backup_codes) FROM user_profiles';
    CREATE FUNCTION adapted() RETURNS text LANGUAGE sql AS 'SELECT to_jsonb(p) ->> $$backup_codes$$ || (to_jsonb(p) ->> $$mfa_backup_codes$$) FROM user_profiles p'`);
  expect(await warnings()).toEqual([
    'function public.report() has backup_codes in its text, and may fail from then on',
  ]);
});

test('who must connect anew, where a type or a column changes', async () => {
  const said = expect.stringMatching(/^Prepared statements of open sessions that SELECT \*, RETURNING \*/);
  expect((await plan(knex)).lines).toContainEqual(said);
  await migrateWith(knex, 'up');
  expect((await plan(knex)).lines).not.toContainEqual(said);
});

test('a refusal that depends on values: no primary key', async () => {
  const { client } = here();
  await client.query('ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey');
  await migrateWith(knex, 'up');
  expect((await plan(knex, 'down')).conflicts).toEqual([]);
  await client.query("UPDATE user_profiles SET external_id = 'x' WHERE user_id = 1");
  expect((await plan(knex, 'down')).conflicts).toEqual([
    expect.stringContaining('the table has no primary key'),
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
  // Before 18 a GRANT locks no table, only the catalog's row of it.
  for (const right of ['SELECT', 'SELECT (phone)']) {
    await other.query(`BEGIN; GRANT ${right} ON user_profiles TO PUBLIC`);
    expect((await plan(knex)).holders).toMatch(/idle in transaction, .*GRANT/);
    await other.query('ROLLBACK');
  }
  await other.query('BEGIN; CREATE TABLE elsewhere ()');
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

test('recorded by Knex and not there: latest would do nothing, and that is said', async () => {
  const { client } = here();
  const said =
    /^Knex has it recorded, so npx knex migrate:latest would do nothing: npx knex migrate:down (\S+) deletes/m;
  await client.query('CREATE TABLE knex_migrations (name text)');
  const recorded = async (name: string) => {
    await client.query('DELETE FROM knex_migrations');
    await client.query('INSERT INTO knex_migrations VALUES ($1)', [name]);
    return plan(knex);
  };
  expect((await plan(knex)).recorded).toBe(false);
  for (const name of ['0016_add_security_fields', '20260101_security_fields.js']) {
    const found = await recorded(name);
    expect(found.recorded).toBe(name);
    expect(said.exec(found.lines.join('\n'))?.[1]).toBe(name);
  }
  expect((await plan(knex, 'down')).lines.join('\n')).not.toMatch(said);
  // Somebody else's: what the advice names is taken back, and may drop a table.
  const found = await recorded('0016_create_orders.js');
  expect([found.recorded, said.test(found.lines.join('\n'))]).toEqual([false, false]);
});
