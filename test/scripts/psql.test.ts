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

testWithPsql('as the header says: exit code 0, a line a step, and the report', async () => {
  const { code, stdout, stderr } = await psqlScript('add_security_fields', database.url);
  expect(code).toBe(0);
  expect(stderr).toMatch(
    /NOTICE: {2}(user_profiles: .*\n)*user_profiles: add failed_login_attempts integer NOT NULL DEFAULT 0\n/,
  );
  expect(stdout).toMatch(/^ failed_login_attempts +\| integer +\| no +\| 0 +\| added *$/m);
  expect(stdout).toMatch('(11 rows)');
  await toBeChanged();
  expect((await psqlScript('add_security_fields', database.url)).stderr).toMatch('nothing to do');

  const back = await psqlScript('remove_security_fields', database.url);
  expect(back).toMatchObject({ code: 0, stdout: expect.stringContaining('(12 rows)') });
});

testWithPsql.each([
  ['in one transaction', ['-1', '-v', 'ON_ERROR_STOP=1', '-f', add]],
  ['without ON_ERROR_STOP', ['-f', add]],
  ['from inside psql', ['-c', `\\i ${add}`]],
  ['in a transaction of somebody’s own', ['-c', 'BEGIN', '-f', add, '-c', 'COMMIT']],
])('%s', async (_, args) => {
  expect((await psql(database.url, ...args)).code).toBe(0);
  await toBeChanged();
});

testWithPsql.each([
  ['with ON_ERROR_STOP', ['-v', 'ON_ERROR_STOP=1', '-f', add], 3],
  ['without it, when psql goes on to the report', ['-f', add], 0],
  ['in one transaction', ['-1', '-v', 'ON_ERROR_STOP=1', '-f', add], 3],
  ['in one transaction, without it', ['-1', '-f', add], 0],
])('refused: %s nothing is changed', async (_, args, exitCode) => {
  await database.client.query('ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text');
  const before = await everything();
  const { code, stdout, stderr } = await psql(database.url, ...args);
  expect(code).toBe(exitCode);
  expect(stderr).toMatch('ERROR:  user_profiles is left as it was: failed_login_attempts is text');
  if (stdout) expect(stdout).toMatch(/^ external_id .*\| missing/m);
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
      /NOTICE: .* Try 1; the next one in .*Held by pid \d+, user \S+, application 'report'/,
    );
    expect(stderr).toMatch(/^DETAIL: {2}Held by pid \d+, user \S+, application 'report'/m);
    expect(stderr).toMatch(/^HINT: {2}To end what is in the way: SELECT pg_terminate_backend\(\d+\);/m);
    expect(await everything()).toEqual(before);
  } finally {
    await database.admin.query('ROLLBACK');
    rmSync(folder, { recursive: true });
  }
});
