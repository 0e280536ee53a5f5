import { setTimeout } from 'node:timers/promises';
import type { Knex } from 'knex';
import type { Client } from 'pg';
import { checked } from '../../src/declaration';
import { policy } from '../../src/program/policy';
import { run, type Surroundings, surroundings } from '../../src/run';
import { locksLeft, schemaOf } from '../support/catalog';
import { connect, databasePerTest } from '../support/database';
import { knexFor } from '../support/knex';

// How often, how long, and what ends it. Sleeps are handed in: no test waits for one.
const here = databasePerTest('0015');
const change = checked({ id: '16', table: 'user_profiles', add: { external_id: { type: 'varchar(255)' } } });

let knex: Knex;
let other: Client;
const lines: string[] = [];
const sleeps: number[] = [];
beforeEach(async () => {
  knex = await knexFor(here().url);
  other = await connect(here().url);
  lines.splice(0);
  sleeps.splice(0);
});
afterEach(async () => {
  await other.end();
  await knex.destroy();
});

/** Makes the change; `whenSleeping` is told how many tries have failed. */
function attempt(
  whenSleeping: (tries: number) => unknown = () => undefined,
  options: Partial<Surroundings> = {},
  on: Knex = knex,
): Promise<void> {
  return run(on, change, 'up', {
    ...surroundings({}),
    report: (line) => lines.push(line),
    sleep: async (ms) => {
      sleeps.push(ms);
      await whenSleeping(sleeps.length);
    },
    ...options,
  });
}

const isMade = async () =>
  (await schemaOf(here().client)).some((line) => line.includes('user_profiles.external_id'));
/** The server tells of an error a moment before it lets go of the locks. */
async function expectNoLocks() {
  for (let tries = 1; tries < 50 && (await locks()).length > 0; tries++) await setTimeout(1);
  expect(await locks()).toEqual([]);
}
const locks = () => locksLeft(here().client, other);

/** A transaction that has read the table. */
const read = () => other.query("SET application_name = 'report'; BEGIN; SELECT FROM user_profiles");

test('it is in use: each failed try names who, holds nothing while it sleeps, and the first possible one succeeds', async () => {
  await read();
  await attempt(async (tries) => {
    await expectNoLocks();
    if (tries === 4) await other.query('COMMIT');
  });
  expect(await isMade()).toBe(true);
  const failed = lines.filter((line) => line.includes(' Try '));
  expect(failed).toHaveLength(4);
  for (const [i, line] of failed.entries()) {
    expect(line).toMatch(
      new RegExp(
        `^user_profiles is in use: no ACCESS EXCLUSIVE lock within 200 ms\\. Try ${i + 1}; the next one in \\d\\.\\d s\\. ` +
          `Held by pid \\d+, user \\w+, application 'report', idle in transaction, transaction open for \\d+\\.\\d s: `,
      ),
    );
  }
  for (const [i, base] of [250, 500, 1000, 2000].entries()) {
    expect(sleeps[i]).toBeGreaterThanOrEqual(base * (1 - policy.jitter));
    expect(sleeps[i]).toBeLessThanOrEqual(base * (1 + policy.jitter));
  }
});

test('in the way of the look is only who may change the table as well', async () => {
  await read();
  const changing = await connect(here().url);
  await changing.query(
    "SET application_name = 'vacuum'; BEGIN; LOCK TABLE user_profiles IN SHARE UPDATE EXCLUSIVE MODE",
  );
  await attempt(async () => {
    await changing.end();
    await other.query('COMMIT');
  });
  expect(lines[0]).toMatch(
    /^user_profiles is in use: no SHARE UPDATE EXCLUSIVE lock .* application 'vacuum'/,
  );
  expect(lines[0]).not.toContain("application 'report'");
});

test('somebody who reads meanwhile waits no longer than one try', async () => {
  await read();
  const waits: number[] = [];
  const reader = await connect(here().url);
  let done = false;
  const making = attempt(async (tries) => {
    if (tries === 3) await other.query('COMMIT');
  }).finally(() => {
    done = true;
  });
  while (!done) {
    const started = performance.now();
    await reader.query('SELECT count(*) FROM user_profiles');
    waits.push(performance.now() - started);
  }
  await making;
  await reader.end();
  expect(Math.max(...waits)).toBeLessThan(policy.lockBudget + 500);
});

test('the deadline: given up, with who is in the way and how to wait longer, and nothing has changed', async () => {
  await read();
  const before = await schemaOf(here().client);
  await expect(attempt(undefined, { deadline: 300 })).rejects.toMatchObject({
    name: 'UserError',
    message: expect.stringMatching(
      /^user_profiles is in use: .*\nHeld by pid (\d+), .*\nTo end what is in the way: SELECT pg_terminate_backend\(\1\);\nGiven up after 1 tries in 0\.\d s\. Nothing has changed, and nothing is locked\.\nTo wait longer, in seconds: MIGRATION_LOCK_DEADLINE=600$/,
    ),
  });
  expect(await schemaOf(here().client)).toEqual(before);
  await expectNoLocks();
});

test('another table that is in use, as an archive that is read: said, and tried again', async () => {
  const { client } = here();
  await attempt();
  await client.query("UPDATE user_profiles SET external_id = 'x'");
  await run(knex, change, 'down', { ...surroundings({}), report: () => undefined });
  await other.query('BEGIN; SELECT FROM user_profiles_16_down_archive');
  await attempt(() => other.query('COMMIT'));
  expect(lines).toContainEqual(
    expect.stringMatching(
      /^user_profiles is left as it was: no lock in time to: drop user_profiles_16_down_archive.*\. Try 1; the next one in 0\.\d s\. A transaction holds another table/,
    ),
  );
  expect(await isMade()).toBe(true);
});

test("in Knex's transaction: a savepoint a try, and the transaction goes on", async () => {
  await read();
  const transaction = await knex.transaction();
  await transaction.raw('SELECT FROM user_profiles');
  await attempt((tries) => (tries === 2 ? other.query('COMMIT') : undefined), {}, transaction);
  expect(sleeps).toHaveLength(2);
  expect(lines[0]).toMatch(/^An earlier migration of this batch holds the table/);
  await transaction.raw("UPDATE user_profiles SET external_id = 'x'");
  await transaction.commit();
  expect(await isMade()).toBe(true);
});

const ended = (signal: string) => `${signal}: ended. Nothing has changed, and nothing is locked.`;

describe('a signal', () => {
  test('while it sleeps', async () => {
    await read();
    await expect(attempt(() => process.emit('SIGINT', 'SIGINT'))).rejects.toThrow(ended('SIGINT'));
    expect(await isMade()).toBe(false);
  });

  test('the one after it ends the process, whichever it is', async () => {
    await read();
    const before = ['SIGINT', 'SIGTERM'].map((signal) => process.listenerCount(signal));
    await attempt(() => {
      process.emit('SIGTERM', 'SIGTERM');
      expect(['SIGINT', 'SIGTERM'].map((signal) => process.listenerCount(signal))).toEqual(before);
    }).catch(() => undefined);
    expect.assertions(1);
  });

  test('while it waits in line', async () => {
    await other.query('BEGIN; LOCK user_profiles IN SHARE UPDATE EXCLUSIVE MODE');
    const timer = setInterval(async () => {
      if ((await locks()).length > 0) process.emit('SIGTERM', 'SIGTERM');
    }, 50);
    await expect(attempt()).rejects.toThrow(ended('SIGTERM'));
    clearInterval(timer);
    expect(await isMade()).toBe(false);
    await expectNoLocks();
  });

  test('that comes too late', async () => {
    const transaction = await knex.transaction();
    await transaction.raw('SELECT FROM user_profiles');
    const report = (line: string) => {
      lines.push(line);
      if (line.includes('add external_id')) process.emit('SIGINT', 'SIGINT');
    };
    await attempt(undefined, { report }, transaction);
    await transaction.commit();
    expect(lines.at(-1)).toBe('SIGINT came too late: the work on user_profiles is done.');
    expect(await isMade()).toBe(true);
  });

  test('leaves no listener behind', async () => {
    const before = process.listenerCount('SIGINT');
    await attempt();
    expect(process.listenerCount('SIGINT')).toBe(before);
  });
});

test('a connection that is cut: what it means, and what to do', async () => {
  await other.query('BEGIN; LOCK user_profiles IN SHARE UPDATE EXCLUSIVE MODE');
  const timer = setInterval(async () => {
    await here().admin.query(
      "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'user_profiles'::regclass AND NOT granted",
    );
  }, 50);
  await expect(attempt()).rejects.toThrow(
    'The connection was lost, but no value: the change is made, begun, or not begun. Run the same command again.',
  );
  clearInterval(timer);
  expect(await isMade()).toBe(false);
});

test('a statement_timeout of the role: named, with what to do', async () => {
  await here().admin.query(`ALTER ROLE ${here().owner} SET statement_timeout = '300ms'`);
  await knex.destroy();
  knex = await knexFor(here().url);
  await other.query('BEGIN; LOCK user_profiles IN SHARE UPDATE EXCLUSIVE MODE');
  await expect(attempt()).rejects.toThrow(
    /statement timeout[\s\S]*ALTER ROLE \.\.\. SET statement_timeout = 0/,
  );
  expect(await isMade()).toBe(false);
});

describe('as configured', () => {
  test.each(['soon', '-1', 'NaN'])('MIGRATION_LOCK_DEADLINE=%s is refused', (seconds) => {
    expect(() => surroundings({ MIGRATION_LOCK_DEADLINE: seconds })).toThrow(
      `MIGRATION_LOCK_DEADLINE is "${seconds}". It is a number of seconds, for example 600.`,
    );
  });

  test('a deadline of 0 means one try', async () => {
    await read();
    const { deadline } = surroundings({ MIGRATION_LOCK_DEADLINE: '0' });
    await expect(attempt(undefined, { deadline })).rejects.toThrow('Given up after 1 tries');
  });

  test('MIGRATION_QUIET=1 shows nothing', async () => {
    const log = jest.spyOn(console, 'log');
    surroundings({ MIGRATION_QUIET: '1' }).report('x');
    expect(log).not.toHaveBeenCalled();
    log.mockRestore();
  });

  test('a sleep ends with the signal', async () => {
    const stop = new AbortController();
    const sleeping = surroundings({}).sleep(60_000, stop.signal);
    stop.abort();
    await sleeping;
    await surroundings({}).sleep(1, new AbortController().signal);
  });
});
