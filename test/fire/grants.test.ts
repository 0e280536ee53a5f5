import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { connect, databasePerTest } from '../support/database';
import { knexCommand, projectCommand } from '../support/knex';
import { shapeOf } from './profiles';

// Before PostgreSQL 18 a GRANT locks the catalog's row of the table, and not the table.

const here = databasePerTest('0015');
const grant = 'GRANT SELECT ON user_profiles TO PUBLIC';

async function withClient<T>(work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect(here().url);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

test('one after the other, each in a transaction that stays open for a while: tried again', async () => {
  let isOver = false;
  const granting = withClient(async (client) => {
    while (!isOver) {
      // It fails where our change is made between its reading of the catalog's row and its writing, as beside any ALTER.
      await client
        .query(`BEGIN; ${grant}`)
        .catch((error) => expect(error.message).toBe('tuple concurrently updated'));
      await sleep(120);
      await client.query('COMMIT');
      await sleep(120);
    }
  });
  const { code, stderr } = await knexCommand(['migrate:latest'], { DATABASE_URL: here().url });
  isOver = true;
  await granting;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(await shapeOf(here().client)).toBe('after');
});

test('left open: its session is named, by plan and by latest', async () => {
  await withClient(async (client) => {
    await client.query(`SET application_name = 'who grants'; BEGIN; ${grant}`);
    const env = { DATABASE_URL: here().url, MIGRATION_LOCK_DEADLINE: '3' };
    const plan = await projectCommand('plan', [], env);
    expect(plan).toMatchObject({ code: 0, stdout: expect.stringContaining("application 'who grants'") });
    const { code, stderr } = await knexCommand(['migrate:latest'], env);
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /Held by pid \d+, user \w+, application 'who grants', idle in transaction/,
      ),
    });
    expect(await shapeOf(here().client)).toBe('before');
  });
  expect(await knexCommand(['migrate:latest'], { DATABASE_URL: here().url })).toMatchObject({ code: 0 });
});
