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
    step.startsWith('LOCK TABLE') ? [] : [step.replace(/;( -- .*)?$/, '')],
  );

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

test('conflicts, each with what to do; whoever may not alter still sees the plan', async () => {
  const { client, admin, name, url } = here();
  await client.query('ALTER TABLE user_profiles ADD external_id uuid');
  const conflict = expect.stringMatching(
    /^external_id is uuid, and the application needs character varying\(255\)\. Convert it first; or,/,
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
      `public.user_profiles belongs to ${here().owner}, and only its owner may alter it; this session is ${name}_reader\n` +
        `Run it as ${here().owner}, or as a member of that role; one without INHERIT needs PGOPTIONS='-c role=${here().owner}'.`,
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
    expect.stringMatching(/^this session is read-only\nConnect .* where that comes from: SELECT source/),
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

test('who must connect anew, where a type or a column changes', async () => {
  const said = expect.stringMatching(/^Prepared statements of open sessions that SELECT \*, RETURNING \*/);
  expect((await plan(knex)).lines).toContainEqual(said);
  await migrateWith(knex, 'up');
  expect((await plan(knex)).lines).not.toContainEqual(said);
});

test('what ANALYZE is for, where a type changes: its statistics are gone, and come back by it', async () => {
  const { client } = here();
  const known = async () =>
    (await client.query("SELECT FROM pg_stats WHERE attname IN ('email_verification_token', 'phone')"))
      .rowCount;
  const said = expect.stringMatching(/^A column of another type loses its statistics: ANALYZE afterwards\.$/);
  await client.query('ANALYZE user_profiles');
  expect(await known()).toBe(2);
  expect((await plan(knex)).lines).toContainEqual(said);
  await migrateWith(knex, 'up');
  expect(await known()).toBe(1);
  await client.query('ANALYZE user_profiles');
  expect(await known()).toBe(2);
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
  await plan(knex);
  await other.query('ROLLBACK; BEGIN; LOCK user_profiles');
  await expect(plan(knex)).rejects.toThrow(/^user_profiles is in use: .*\nHeld by pid/);
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
