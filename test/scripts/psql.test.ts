import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { declaredShape, shapeOf } from '../support/application';
import { everythingIn } from '../support/catalog';
import { databasePerTest, loadState, type TestDatabase } from '../support/database';
import { knexCommand, project } from '../support/knex';
import { psql, psqlScript, testWithPsql } from '../support/psql';

const add = 'sql/add_security_fields.sql';

let database: TestDatabase;
const here = databasePerTest();
beforeEach(async () => {
  database = here();
  await loadState(database.client, '0015');
});

const everything = () => everythingIn(database.client);
const toBeChanged = async () =>
  expect(await shapeOf(database.client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });

/** What it said, without where psql says it and how a statement ends. */
const said = (stderr: string) =>
  stderr.split('\n').map((line) => line.replace(/^psql:[^ ]* INFO: {2}/, '').replace(/;$/, ''));

testWithPsql('as the header says: exit code 0, and each statement that was sent', async () => {
  const { code, stdout, stderr } = await psqlScript('add_security_fields', database.url);
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'DO\n' });
  expect(said(stderr)).toEqual(
    expect.arrayContaining([
      'ALTER TABLE public.user_profiles RENAME COLUMN backup_codes TO mfa_backup_codes',
      '  ADD COLUMN failed_login_attempts integer DEFAULT 0 NOT NULL,',
    ]),
  );
  expect(said(stderr)).not.toContain(notThereYet);
  await toBeChanged();
  expect((await psqlScript('add_security_fields', database.url)).stderr).toMatch(
    'user_profiles: nothing to do',
  );

  const back = await psqlScript('remove_security_fields', database.url);
  expect(back.code).toBe(0);
  expect(said(back.stderr)).toContain('DROP TABLE public.user_profiles_0016_before');
});

const notThereYet = 'user_profiles: in a transaction of yours, nothing is there before its COMMIT';

testWithPsql.each([
  ['in one transaction', ['-1', '-v', 'ON_ERROR_STOP=1', '-f', add], true],
  ['without ON_ERROR_STOP', ['-f', add], false],
  ['from inside psql', ['-c', `\\i ${add}`], false],
  ['in a transaction of somebody’s own', ['-c', 'BEGIN', '-f', add, '-c', 'COMMIT'], true],
])('%s', async (_, args, isTransaction) => {
  const { code, stderr } = await psql(database.url, ...args);
  expect({ code, isTransaction: said(stderr).includes(notThereYet) }).toEqual({ code: 0, isTransaction });
  await toBeChanged();
});

testWithPsql('with AUTOCOMMIT off it says that nothing is there yet, and so it is', async () => {
  const before = await everything();
  const { code, stderr } = await psql(database.url, '-v', 'AUTOCOMMIT=off', '-f', add);
  expect({ code, said: said(stderr) }).toEqual({ code: 0, said: expect.arrayContaining([notThereYet]) });
  expect(await everything()).toEqual(before);
});

testWithPsql.each([
  ['dry, it locks nothing and waits for nobody', ['-c', "SET table_change.dry = 'on'", '-f', add], false],
  ['rehearsed, it takes all locks', ['-c', 'BEGIN', '-f', add, '-c', 'ROLLBACK'], true],
])('%s; the statements are the real ones, and nothing has changed', async (_, args, waits) => {
  const { admin } = database;
  const before = await everything();
  await admin.query("BEGIN; UPDATE user_profiles SET phone = '1'");
  const running = psql(database.url, ...args);
  if (waits) {
    const waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'user_profiles'::regclass";
    while ((await admin.query(waiting)).rowCount === 0) await new Promise((go) => setTimeout(go, 10));
    await admin.query('ROLLBACK');
  }
  const { code, stderr } = await running;
  await admin.query('ROLLBACK');
  expect(code).toBe(0);
  expect(await everything()).toEqual(before);
  const { stderr: real } = await psqlScript('add_security_fields', database.url);
  expect(said(stderr)).toEqual(expect.arrayContaining(said(real)));
});

testWithPsql('dry in a session that is read-only: the statements all the same', async () => {
  const args = [
    '-c',
    'SET default_transaction_read_only = on',
    '-c',
    "SET table_change.dry = 'on'",
    '-f',
    add,
  ];
  const { code, stderr } = await psql(database.url, ...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('ADD COLUMN external_id') });
});

testWithPsql.each([
  ['with ON_ERROR_STOP', ['-v', 'ON_ERROR_STOP=1', '-f', add], 3],
  ['without it', ['-f', add], 0],
  ['in one transaction', ['-1', '-v', 'ON_ERROR_STOP=1', '-f', add], 3],
  ['in one transaction, without it', ['-1', '-f', add], 0],
])('refused: %s nothing is changed', async (_, args, exitCode) => {
  await database.client.query('ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text');
  const before = await everything();
  const { code, stderr } = await psql(database.url, ...args);
  expect(code).toBe(exitCode);
  expect(stderr).toMatch('ERROR:  user_profiles is left as it was: failed_login_attempts is text');
  expect(await everything()).toEqual(before);
});

testWithPsql('it refuses in the very words of npx knex migrate:latest', async () => {
  await database.client.query(`
    ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text, ADD COLUMN "External_Id" text;
    CREATE VIEW tokens AS SELECT email_verification_token FROM user_profiles`);
  const { stderr } = await psqlScript('add_security_fields', database.url);
  const [, message = '', hint = ''] = /ERROR: {2}(.*?)\nHINT: {2}(.*?)\nCONTEXT/s.exec(stderr) ?? [];
  const knex = await knexCommand(['migrate:latest'], { DATABASE_URL: database.url });
  expect(knex.code).toBe(1);
  expect(knex.stdout + knex.stderr).toContain(`${message}\n${hint}`);
});

testWithPsql('a table that stays in use: exit code 3, and who is in the way', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'script-'));
  const impatient = join(folder, 'add.sql');
  writeFileSync(
    impatient,
    readFileSync(join(project, add), 'utf8').replace("interval := '120 s'", "interval := '2 s'"),
  );
  await database.admin.query("SET application_name = 'report'; BEGIN; SELECT count(*) FROM user_profiles");
  try {
    const before = await everything();
    const { code, stdout, stderr } = await psql(database.url, '-v', 'ON_ERROR_STOP=1', '-f', impatient);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toMatch(
      /INFO: .* Try 1; the next one in .*Held by pid \d+, user \S+, application 'report'/,
    );
    expect(stderr).toMatch(/^DETAIL: {2}Held by pid \d+, user \S+, application 'report'/m);
    expect(stderr).toMatch(
      /^HINT: {2}To end what is in the way, as its user: SELECT pg_terminate_backend\(\d+\);/m,
    );
    expect(await everything()).toEqual(before);
  } finally {
    await database.admin.query('ROLLBACK');
    rmSync(folder, { recursive: true });
  }
});
