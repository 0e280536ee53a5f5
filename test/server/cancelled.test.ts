import { connect, databasePerTest } from '../support/database';
import { functions } from '../support/routes';

// One error code, 57014, for three reasons: the next step is another one for each. (Ctrl-C: signals.test.ts.)
const here = databasePerTest('0015');

/** What is said where it is ended while it waits for a reader. */
async function said(end: string): Promise<string> {
  const { admin, url } = here();
  const reader = await connect(url);
  await reader.query('BEGIN; SELECT FROM user_profiles');
  const error = functions.up(here()).then(
    () => '',
    ({ message }: Error) => message,
  );
  const at = `datname = current_database() AND query LIKE 'DO $program$%' AND state = 'active'`;
  while ((await admin.query(`SELECT ${end} FROM pg_stat_activity WHERE ${at}`)).rowCount === 0);
  const message = await error;
  await reader.end();
  return message;
}

test('by somebody', async () => {
  expect(await said('pg_cancel_backend(pid)')).toMatch(
    /^canceling statement due to user request\nSomebody has cancelled it, .*: run the same command again\.$/,
  );
  await functions.up(here());
});

test('by statement_timeout', async () => {
  await here().admin.query(`ALTER ROLE ${here().owner} SET statement_timeout = '1s'`);
  expect(await said('1')).toMatch(
    /^canceling statement due to statement timeout\nIf it was statement_timeout: .*\n.*PGOPTIONS='-c statement_timeout=0'.*\nALTER ROLE/,
  );
});
