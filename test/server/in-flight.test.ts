import type { Client } from 'pg';
import { writeValues } from '../support/application';
import { connect, databasePerTest, loadState, type State, type TestDatabase } from '../support/database';
import { functions } from '../support/routes';

// Requests of the application that are on their way when the program comes.

let database: TestDatabase;

const here = databasePerTest();
beforeEach(async () => {
  database = here();
});

/** Resolves as soon as somebody stands in line for ACCESS EXCLUSIVE on the table. */
async function stoodInLine(client: Client) {
  for (;;) {
    const { rows } = await client.query(
      "SELECT 1 FROM pg_locks WHERE relation = 'user_profiles'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted",
    );
    if (rows.length > 0) return;
  }
}

// With rows to move and to archive.
test.each<['up' | 'down', State]>([
  ['up', 'both-names'],
  ['down', '0015'],
])('one that has read and then writes, while %s waits for it: neither fails', async (direction, state) => {
  await loadState(database.client, state);
  if (direction === 'down') {
    await functions.up(database);
    await writeValues(database.client);
  }
  const request = await connect(database.url);
  await request.query('BEGIN; SELECT 1 FROM user_profiles WHERE id = 4');
  const done = functions[direction](database);
  await stoodInLine(database.client);
  await request.query('UPDATE user_profiles SET mfa_enabled = true WHERE id = 4; COMMIT');
  await done;
  const { rows } = await database.client.query('SELECT mfa_enabled FROM user_profiles WHERE id = 4');
  expect(rows).toEqual([{ mfa_enabled: true }]);
  await request.end();
});
