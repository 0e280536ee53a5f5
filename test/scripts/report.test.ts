import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { QueryResult } from 'pg';
import { declaredShape } from '../support/application';
import { databasePerTest, loadState, type TestDatabase } from '../support/database';
import { project } from '../support/knex';

interface Row {
  readonly column_name: string;
  readonly type: string | null;
  readonly nullable: 'yes' | 'no' | null;
  readonly default_value: string | null;
  readonly what_was_done: string;
}

let database: TestDatabase;
const here = databasePerTest();
beforeEach(async () => {
  database = here();
});

const add = () => send('add');
const remove = () => send('remove');

/** The report that a script ends with. */
async function send(name: 'add' | 'remove'): Promise<Row[]> {
  const script = readFileSync(join(project, `sql/${name}_security_fields.sql`), 'utf8');
  const results = (await database.client.query(script)) as unknown as QueryResult<Row>[];
  return results.at(-1)?.rows ?? [];
}

/** The report alone, as psql without ON_ERROR_STOP shows it after a refusal. */
async function reportAlone(name: 'add' | 'remove'): Promise<Row[]> {
  const script = readFileSync(join(project, `sql/${name}_security_fields.sql`), 'utf8');
  return (await database.client.query<Row>(script.slice(script.indexOf('\n-- The report')))).rows;
}

const done = (rows: readonly Row[]) =>
  Object.fromEntries(rows.map(({ column_name, what_was_done }) => [column_name, what_was_done]));
const all = (words: string) => Object.fromEntries(Object.keys(declaredShape).map((name) => [name, words]));

test('after the first run: what was done to each column, and what it is now', async () => {
  await loadState(database.client, '0015');
  const rows = await add();
  expect(rows.map(({ column_name }) => column_name)).toEqual([
    ...Object.keys(declaredShape),
    'mfa_backup_codes',
  ]);
  for (const { column_name, type, nullable, default_value } of rows.slice(0, -1)) {
    const shape = [
      type,
      ...(nullable === 'no' ? ['NOT NULL'] : []),
      ...(default_value ? [`DEFAULT ${default_value}`] : []),
    ];
    expect(`${column_name} ${shape.join(' ')}`).toBe(`${column_name} ${declaredShape[column_name]}`);
  }
  expect(done(rows)).toEqual({
    ...all('added'),
    email_verification_token: 'type changed from character varying(100)',
    email_verified: 'default set',
    mfa_backup_codes: 'renamed from backup_codes, made nullable',
  });
});

test('after a second run: the same, because it is still what was done', async () => {
  await loadState(database.client, '0015');
  expect(await add()).toEqual(await add());
});

test('where everything was there before: as it was', async () => {
  await loadState(database.client, '0015');
  await add();
  await database.client.query('DROP TABLE user_profiles_0016_before');
  expect(done(await add())).toEqual({ ...all('as it was'), mfa_backup_codes: 'as it was' });
});

test('after a repair by hand, with one name or with both', async () => {
  await loadState(database.client, 'repaired-by-hand');
  const partly = {
    ...all('as it was'),
    email_verification_token: 'type changed from character varying(100)',
    email_verified: 'default set',
  };
  expect(done(await add())).toEqual({ ...partly, mfa_backup_codes: 'made nullable' });
  await remove();
  await database.client.query(
    'ALTER TABLE user_profiles ADD COLUMN backup_codes jsonb NOT NULL DEFAULT $$[]$$',
  );
  expect(done(await add())).toEqual({
    ...partly,
    mfa_backup_codes: 'took what backup_codes held, which is gone, made nullable',
  });
  expect(done(await remove())).toMatchObject({
    mfa_backup_codes: 'stays (this change did not add it)',
    backup_codes: 'stays (this change did not add it)',
  });
});

test('after the way back, a first and a second time', async () => {
  await loadState(database.client, '0015');
  await add();
  const rows = await remove();
  expect(done(rows)).toEqual({
    ...all('not there (removed, or never added)'),
    email_verification_token: 'stays (this change did not add it)',
    email_verified: 'stays (this change did not add it)',
    mfa_backup_codes: 'under its old name, backup_codes',
    backup_codes: 'stays (this change did not add it)',
  });
  expect(rows.at(-1)).toMatchObject({ type: 'jsonb', nullable: 'no', default_value: null });
  expect(await remove()).toEqual(rows);
});

test('after a refusal it says that nothing was done', async () => {
  await loadState(database.client, '0015');
  await database.client.query('ALTER TABLE user_profiles ADD COLUMN failed_login_attempts text');
  await expect(add()).rejects.toThrow('is left as it was');
  expect(done(await reportAlone('add'))).toEqual({
    ...all('missing'),
    failed_login_attempts: 'as it was',
    email_verification_token: 'as it was',
    email_verified: 'as it was',
    mfa_backup_codes: 'missing',
  });
  await database.client.query('ALTER TABLE user_profiles DROP COLUMN failed_login_attempts');
  await add();
  expect(new Set((await reportAlone('remove')).map((row) => row.what_was_done))).toEqual(
    new Set(['not taken back']),
  );
  await database.client.query('DROP TABLE user_profiles CASCADE');
  expect(new Set((await reportAlone('add')).map((row) => row.what_was_done))).toEqual(new Set(['missing']));
});
