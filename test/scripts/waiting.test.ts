import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from 'pg';
import { connect, databasePerTest, serverVersion } from '../support/database';
import { project } from '../support/knex';
import { noticesOf } from '../support/routes';

// A script that does not get the table at once.
const add = readFileSync(join(project, 'sql/add_security_fields.sql'), 'utf8');

/** A script that gives up after half a second, or after so many milliseconds. */
const impatient = (script: string, deadline = 500) =>
  script.replace("interval := '120 s'", `interval := '${deadline} ms'`);

const database = databasePerTest('0015');
let client: Client;
beforeEach(() => {
  client = database().client;
});

test('however many tries there have been, a sleep keeps to its bounds', async () => {
  const [, sleep] = /sleep := (.*);/.exec(add) ?? [];
  const { rows } = await client.query(`
    SELECT max(${sleep}) <= interval '2.5 s' AS is_bounded
    FROM generate_series(0, 1000) tries, (SELECT interval '2 s', interval '250 ms', 0.25) p (longest_sleep, first_sleep, jitter)`);
  expect(rows).toEqual([{ is_bounded: true }]);
});

test('each failed try is a notice that names whoever is in the way, and the last one an error with the remedy', async () => {
  const blocker = await connect(database().url);
  try {
    await blocker.query("SET application_name = 'nightly report'; BEGIN; SELECT count(*) FROM user_profiles");
    const said: string[] = [];
    client.on('notice', ({ message }) => said.push(message ?? ''));
    const error = await client.query(impatient(add, 3000)).catch((failure) => failure);
    expect(error).toMatchObject({ code: '55P03' });
    expect(error.message).toMatch(/^user_profiles is in use: no ACCESS EXCLUSIVE lock in time$/);
    expect(error.detail).toMatch(
      /^Held by pid \d+, user \S+, application 'nightly report', idle in transaction/,
    );
    expect(error.hint).toMatch(
      /SELECT pg_terminate_backend\(\d+\);\nGiven up after \d+ tries in [\d.]+ s; nothing is locked/,
    );
    const tries = said.filter((line) => /Try \d+; the next one in .*application 'nightly report'/.test(line));
    expect(tries.length).toBeGreaterThanOrEqual(1);

    // Waiting on, it is done as soon as the reader has finished.
    const waiting = client.query(add);
    await new Promise((resolve) => setTimeout(resolve, 400));
    await blocker.query('COMMIT');
    await waiting;
  } finally {
    await blocker.end();
  }
});

test('while it waits, nobody else does', async () => {
  const [blocker, reader] = [await connect(database().url), await connect(database().url)];
  try {
    await blocker.query('BEGIN; SELECT count(*) FROM user_profiles');
    const longestWrite = async (ms: number) => {
      let longest = 0;
      for (const end = Date.now() + ms; Date.now() < end; ) {
        const started = performance.now();
        await reader.query('UPDATE user_profiles SET phone = NULL WHERE user_id = 1');
        longest = Math.max(longest, performance.now() - started);
      }
      return longest;
    };
    const busy = await longestWrite(600); // What this machine does to a write, whatever we do.
    const failure = client.query(impatient(add)).catch((error) => error);
    // lockBudget is 200 ms.
    expect((await longestWrite(600)) - busy).toBeLessThan(400);
    expect((await failure).code).toBe('55P03');
  } finally {
    await Promise.all([blocker.end(), reader.end()]);
  }
});

describe('alone, it does not say that its transaction is somebody else’s', () => {
  const notThereYet = expect.stringContaining('nothing is there before its COMMIT');

  test('after a failed try', async () => {
    const blocker = await connect(database().url);
    await blocker.query('BEGIN; SELECT FROM user_profiles');
    client.once('notice', () => void blocker.query('COMMIT'));
    const said = await noticesOf(client, add);
    expect(said[0]).toMatch(/ Try 1; /);
    expect(said).not.toContainEqual(notThereYet);
    await blocker.end();
  });

  (serverVersion >= 11 ? test : test.skip)('after NULLs that were filled before the lock', async () => {
    await client.query(
      'ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL; UPDATE user_profiles SET email_verified = NULL',
    );
    const said = await noticesOf(client, add.replace(/(batch_from +CONSTANT integer := )\d+/, '$10'));
    expect(said[0]).toMatch(/ rows at a time, while everybody works on/);
    expect(said).not.toContainEqual(notThereYet);
  });
});
