import { rehearse } from '../../migrations/0016_add_security_fields';
import { everythingIn } from '../support/catalog';
import { connect, databasePerTest, urlWith } from '../support/database';
import { begin, knexFor, projectArguments, projectCommand } from '../support/knex';
import { functions } from '../support/routes';

const here = databasePerTest('0015');
const everything = () => everythingIn(here().client);
const command = (args: readonly string[], env = {}) =>
  projectCommand('rehearse', args, { DATABASE_URL: here().url, ...env });

test('it would be done: exit code 0, what was sent, and nothing has changed', async () => {
  const before = await everything();
  const { code, stdout, stderr } = await command([]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(
    /^ALTER TABLE public\.user_profiles RENAME COLUMN backup_codes TO mfa_backup_codes$.*^It would be done\.$.*locked as the real thing/ms,
  );
  expect(await everything()).toEqual(before);
});

test('--down and --json: the way back, with numbers of rows', async () => {
  const { client } = here();
  await functions.up(here());
  await client.query("UPDATE user_profiles SET external_id = 'x' WHERE user_id < 4");
  const before = await everything();
  const { code, stdout } = await command(['--down', '--json']);
  expect({ code, ...JSON.parse(stdout) }).toEqual({
    code: 0,
    direction: 'down',
    refusal: null,
    said: expect.arrayContaining([
      expect.stringMatching(/_down_archive .*\(3 rows\)$/s),
      'DROP TABLE public.user_profiles_0016_before',
    ]),
  });
  expect(await everything()).toEqual(before);
});

test.each<[string, string, RegExp]>([
  [
    'a column of another type',
    'ALTER TABLE user_profiles ADD external_id uuid',
    /external_id is uuid, and the/,
  ],
  [
    'what only the server finds: a view',
    'CREATE VIEW tokens AS SELECT email_verification_token FROM user_profiles',
    /cannot alter type of a column used by a view or rule\n.*view tokens.*Drop what uses the column/s,
  ],
  [
    'what only a write finds: a trigger',
    `CREATE TABLE audit (LIKE user_profiles);
     CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit SELECT NEW.*; RETURN NEW; END $$;
     CREATE TRIGGER audited AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE audit()`,
    /a write that works would fail from then on: INSERT has more expressions than target columns.*Trigger audited, function audit/s,
  ],
])('it would be refused, %s: exit code 1, why, and nothing has changed', async (_, statement, why) => {
  await here().client.query(statement);
  const before = await everything();
  const { code, stdout, stderr } = await command([]);
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  expect(stdout).toMatch(/^It would be refused: /m);
  expect(stdout).toMatch(why);
  expect(await everything()).toEqual(before);
});

test('could not try, in use until the deadline: exit code 2, and by whom', async () => {
  const other = await connect(here().url);
  await other.query('BEGIN; SELECT FROM user_profiles');
  const { code, stdout, stderr } = await command([], { MIGRATION_LOCK_DEADLINE: '0' });
  await other.end();
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^user_profiles is in use: no ACCESS EXCLUSIVE lock in time\nHeld by pid \d+/);
  expect(stderr).not.toMatch(/^\s+at /m);
});

test('in use for a while: each wait is said at once', async () => {
  const other = await connect(here().url);
  await other.query('BEGIN; SELECT FROM user_profiles');
  const { child, outcome } = begin(process.execPath, [...projectArguments('rehearse'), '--json'], {
    DATABASE_URL: here().url,
  });
  await new Promise((resolve) => child.stderr?.once('data', resolve));
  await other.query('COMMIT');
  await other.end();
  const { code, stdout, stderr } = await outcome;
  expect(stderr).toMatch(
    /^user_profiles is in use: no ACCESS EXCLUSIVE lock in time\. Try 1; the next one in [\d.]+ s\. Held/,
  );
  expect({ code, refusal: JSON.parse(stdout).refusal }).toEqual({ code: 0, refusal: null });
});

test.each([
  ['no server', { port: '1' }, 'nothing listens there'],
  ['no table', { pathname: 'template1' }, 'there is no table user_profiles'],
])('could not try, %s: exit code 2', async (_, parts, message) => {
  const { code, stdout, stderr } = await command([], { DATABASE_URL: urlWith(here().url, parts) });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(message);
});

test('in a transaction of the caller, which goes on', async () => {
  const knex = await knexFor(here().url);
  const transaction = await knex.transaction();
  try {
    await transaction.raw("UPDATE user_profiles SET phone = '1'");
    const { refusal, direction, lines } = await rehearse(transaction);
    expect({ refusal, direction }).toEqual({ refusal: null, direction: 'up' });
    expect(lines).toContain('It would be done.');
    await transaction.commit();
    const { rows } = await here().client.query(
      'SELECT DISTINCT phone, backup_codes IS NULL AS is_null FROM user_profiles',
    );
    expect(rows).toEqual([{ phone: '1', is_null: false }]);
  } finally {
    if (!transaction.isCompleted()) await transaction.rollback();
    await knex.destroy();
  }
});
