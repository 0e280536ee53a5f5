import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freshDatabase, loadState, type TestDatabase, urlWith } from '../support/database';
import { type Outcome, projectCommand } from '../support/knex';
import { functions } from '../support/routes';

// What only the command line shows: exit codes, --json, where errors go.
let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  await loadState(database.client, '0015');
});
afterAll(() => database.close());

const command = (name: 'plan' | 'verify', ...args: string[]): Promise<Outcome> =>
  projectCommand(name, args, { DATABASE_URL: database.url });

test('before: plan has steps and exits with 0, verify with 1', async () => {
  const [plan, verify, down] = await Promise.all([
    command('plan'),
    command('verify'),
    command('plan', '--down', '--json'),
  ]);
  expect({ code: plan.code, stderr: plan.stderr }).toEqual({ code: 0, stderr: '' });
  expect(plan.stdout).toContain(
    '\n  ALTER TABLE public.user_profiles RENAME COLUMN backup_codes TO mfa_backup_codes;\n',
  );
  expect({ code: verify.code, stderr: verify.stderr }).toEqual({ code: 1, stderr: '' });
  expect(verify.stdout).toContain(
    '✗ failed_login_attempts        missing (left: ADD COLUMN failed_login_attempts',
  );
  expect(verify.stdout).toContain('user_profiles is not as declared.\n');
  expect(down.code).toBe(0);
  expect(JSON.parse(down.stdout)).toMatchObject({ direction: 'down', conflicts: [], knexLock: null });
});

test('conflicts: plan exits with 1', async () => {
  await database.client.query('ALTER TABLE user_profiles ADD external_id uuid');
  const { code, stdout } = await command('plan');
  await database.client.query('ALTER TABLE user_profiles DROP external_id');
  expect(code).toBe(1);
  expect(stdout).toContain(
    'conflict: external_id is uuid, and the application needs character varying(255). ',
  );
});

test('afterwards: verify exits with 0, and with 1 for a role that may not use the columns', async () => {
  await functions.up(database);
  const [verify, json, role] = await Promise.all([
    command('verify'),
    command('verify', '--json'),
    command('verify', '--role', 'pg_monitor'),
  ]);
  expect({ code: verify.code, stderr: verify.stderr }).toEqual({ code: 0, stderr: '' });
  expect(verify.stdout).toContain('✓ failed_login_attempts        integer NOT NULL DEFAULT 0\n');
  expect(json.code).toBe(0);
  const { columns, ...rest } = JSON.parse(json.stdout);
  expect(columns).toHaveLength(11);
  expect(rest).toEqual({
    asDeclared: true,
    left: [],
    recorded: null,
    withoutPrivilege: [],
    hints: [expect.any(String)],
  });
  expect(role.code).toBe(1);
  expect(role.stdout).toContain(
    'GRANT SELECT (external_id), INSERT (external_id), UPDATE (external_id) ON public.user_profiles TO pg_monitor;',
  );
});

test.each<[string, 'plan' | 'verify', string[], Partial<Record<'pathname' | 'port', string>>, string]>([
  ['no server', 'plan', [], { port: '1' }, 'nothing listens there'],
  ['no server', 'verify', [], { port: '1' }, 'nothing listens there'],
  ['no table', 'plan', [], { pathname: 'template1' }, 'there is no table user_profiles'],
  ['no such role', 'verify', ['--role', 'Nobody'], {}, 'role "Nobody" does not exist'],
  ['an unknown option', 'verify', ['--rôle'], {}, "unknown option '--rôle'"],
])('could not look, %s: %s exits with 2 and a short message', async (_, name, args, parts, message) => {
  const { code, stdout, stderr } = await projectCommand(name, args, {
    DATABASE_URL: urlWith(database.url, parts),
  });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain(message);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(3);
});

test('the scripts go into a folder that is made, and a file in its place is told', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'scripts-'));
  const made = join(folder, 'a/b');
  expect(await projectCommand('script', [made], {})).toEqual({ code: 0, stdout: '', stderr: '' });
  expect(readdirSync(made)).toEqual(['add_security_fields.sql', 'remove_security_fields.sql']);
  const { code, stderr } = await projectCommand('script', [join(made, 'add_security_fields.sql')], {});
  rmSync(folder, { recursive: true });
  expect(code).toBe(1);
  expect(stderr).toMatch(/^Cannot write .*\.sql: E[A-Z]+: .*\n$/);
});
