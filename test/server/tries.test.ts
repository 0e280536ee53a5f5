import { setTimeout } from 'node:timers/promises';
import type { Knex } from 'knex';
import type { Client } from 'pg';
import { checked } from '../../src/declaration';
import { policy } from '../../src/program/policy';
import { run, surroundings } from '../../src/run';
import { locksLeft, schemaOf } from '../support/catalog';
import { connect, databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { scripts } from '../support/routes';

// How often, how long, and what ends it (signals.test.ts has Ctrl-C). The program sleeps by itself.
const here = databasePerTest('0015');
const change = checked({ id: '16', table: 'user_profiles', add: { external_id: { type: 'varchar(255)' } } });

let knex: Knex;
let other: Client;
const lines: string[] = [];
beforeEach(async () => {
  knex = await knexFor(here().url);
  other = await connect(here().url);
  lines.splice(0);
});
afterEach(async () => {
  await other.end();
  await knex.destroy();
});

const failedTries = () => lines.filter((line) => / Try \d+; /.test(line));

/** Makes the change; `whenSleeping` is told how many tries have failed. */
async function attempt(
  whenSleeping: (tries: number) => unknown = () => undefined,
  options: Partial<ReturnType<typeof surroundings>> = {},
  on: Knex = knex,
): Promise<void> {
  const told: unknown[] = [];
  const report = (line: string) => {
    lines.push(line);
    if (failedTries().at(-1) === line) told.push(whenSleeping(failedTries().length));
  };
  await run(on, change, 'up', { ...surroundings({}), report, ...options }).finally(() => Promise.all(told));
}

const isMade = async () =>
  (await schemaOf(here().client)).some((line) => line.includes('user_profiles.external_id'));
/** The server tells of an error a moment before it lets go of the locks. */
async function expectNoLocks() {
  while ((await locks()).length > 0) await setTimeout(5);
}
const locks = () => locksLeft(here().client, other);

/** A transaction that has read the table. */
const read = () => other.query("SET application_name = 'report'; BEGIN; SELECT FROM user_profiles");

test('it is in use: each failed try names who, and sleeps longer; then it is made', async () => {
  await read();
  await attempt((tries) => (tries === 4 ? other.query('COMMIT') : undefined));
  expect(await isMade()).toBe(true);
  const sleeps = failedTries().map((line, i) => {
    const [, seconds] =
      new RegExp(
        `^user_profiles is in use: no ACCESS EXCLUSIVE lock in time\\. Try ${i + 1}; the next one in (\\d\\.\\d) s\\. ` +
          `Held by pid \\d+, user \\w+, application 'report', idle in transaction, transaction open for \\d+\\.\\d s: `,
      ).exec(line) ?? [];
    return Number(seconds) * 1_000;
  });
  for (const [i, base] of [250, 500, 1_000, 2_000].entries()) {
    expect(sleeps[i]).toBeGreaterThanOrEqual(base * (1 - policy.jitter) - 50);
    expect(sleeps[i]).toBeLessThanOrEqual(base * (1 + policy.jitter) + 50);
  }
});

// Servers before 10 do not show that somebody sleeps.
(serverVersion >= 11 ? test : test.skip)(
  'while it sleeps it holds no lock, and no snapshot that is older than the try',
  async () => {
    const { admin } = here();
    await read();
    let done = false;
    const making = attempt((tries) => (tries === 4 ? other.query('COMMIT') : undefined)).finally(() => {
      done = true;
    });
    const asleep = async (): Promise<string | undefined> => {
      const { rows } = await admin.query(`
        SELECT xact_start::text AS since FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'`);
      return rows[0]?.since;
    };
    const transactions = new Set<string>();
    while (!done) {
      const before = await asleep();
      const held = await locks();
      const after = await asleep();
      // In the same sleep. No snapshot outlives its transaction.
      if (before !== undefined && before === after) {
        expect(held).toEqual([]);
        transactions.add(before);
      }
    }
    await making;
    expect(transactions.size).toBeGreaterThanOrEqual(2);
  },
);

test('the script makes the same tries', async () => {
  const { client } = here();
  await read();
  const ending: Promise<unknown>[] = [];
  const onNotice = ({ message = '' }) => {
    lines.push(message);
    if (message.includes(' Try 2; ')) ending.push(other.query('COMMIT'));
  };
  client.on('notice', onNotice);
  await scripts.up(here()).finally(() => client.off('notice', onNotice));
  await Promise.all(ending);
  expect(failedTries()[0]).toMatch(
    /^user_profiles is in use: no ACCESS EXCLUSIVE lock in time\. Try 1; .* application 'report'/,
  );
  expect(await isMade()).toBe(true);
});

test('in the way of the look is only who may change the table as well', async () => {
  await read();
  const changing = await connect(here().url);
  await changing.query(
    "SET application_name = 'vacuum'; BEGIN; LOCK TABLE user_profiles IN SHARE UPDATE EXCLUSIVE MODE",
  );
  await attempt((tries) => (tries === 1 ? Promise.all([changing.end(), other.query('COMMIT')]) : undefined));
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
  const began = performance.now();
  const making = attempt((tries) => (tries === 3 ? other.query('COMMIT') : undefined)).finally(() => {
    done = true;
  });
  while (!done) {
    const started = performance.now();
    await reader.query('SELECT count(*) FROM user_profiles');
    waits.push(performance.now() - started);
  }
  await making;
  await reader.end();
  // Three tries of 200 ms, with 1.75 s of sleep between them: on a slow machine all of it is slow.
  expect(Math.max(...waits)).toBeLessThan((performance.now() - began) / 3);
});

const givenUp = (): Promise<Error> =>
  attempt(undefined, { deadline: 300 }).then(
    () => expect('given up').toBe('made') as never,
    (reason) => reason,
  );

test('the deadline: given up, with who is in the way and how to wait longer; nothing has changed, and what is said helps', async () => {
  await read();
  const before = await schemaOf(here().client);
  const refusal = await givenUp();
  expect(refusal).toMatchObject({
    name: 'UserError',
    message: expect.stringMatching(
      /^user_profiles is in use: .*\nHeld by pid (\d+), .*\nTo end what is in the way, as its user: SELECT pg_terminate_backend\(\1\);\nGiven up after 1 tries in \d+\.\d s; nothing is locked\. To wait longer: MIGRATION_LOCK_DEADLINE/,
    ),
  });
  expect(await schemaOf(here().client)).toEqual(before);
  await expectNoLocks();
  const [terminate = ''] = /SELECT pg_terminate_backend.*;/.exec(refusal.message) ?? [];
  await here().admin.query(terminate);
  await attempt();
  expect(await isMade()).toBe(true);
});

test('a prepared transaction is named as one, and what is said ends it', async () => {
  // It is the whole server's, and would be in the way of the next one that runs here.
  const gid = here().name;
  await other.query(`BEGIN; SELECT FROM user_profiles; PREPARE TRANSACTION '${gid}'`);
  const forgotten = `ROLLBACK PREPARED '${gid}'`;
  try {
    const { message } = await givenUp();
    expect(message).toContain(`Held by a prepared transaction: ${gid}\n`);
    expect(message).toContain(`${forgotten};`);
  } finally {
    await other.query(forgotten);
  }
  await attempt();
  expect(await isMade()).toBe(true);
});

test('a role that may not see who it is says so', async () => {
  await here().admin.query('BEGIN; SELECT FROM user_profiles');
  const { message } = await givenUp();
  await here().admin.query('COMMIT');
  expect(message).toMatch(/Held by pid \d+, user postgres, .*hidden from this role\n/);
});

test('another table that is in use, as an archive that is read: said, and tried again', async () => {
  const { client } = here();
  await attempt();
  await client.query("UPDATE user_profiles SET external_id = 'x'");
  await run(knex, change, 'down', { ...surroundings({}), report: () => undefined });
  await other.query("SET application_name = 'curious'; BEGIN; SELECT FROM user_profiles_16_down_archive");
  lines.splice(0);
  await attempt((tries) => (tries === 1 ? other.query('COMMIT') : undefined));
  expect(failedTries()[0]).toMatch(
    /^user_profiles is left as it was: .*: DROP TABLE public\.user_profiles_16_down_archive\. Try 1; the next one in 0\.\d s\. /,
  );
  expect(failedTries()[0]).toContain("application 'curious'");
  expect(await isMade()).toBe(true);
});

test("in Knex's transaction: a savepoint a try, and the transaction goes on", async () => {
  await read();
  const transaction = await knex.transaction();
  await transaction.raw('SELECT FROM user_profiles');
  await attempt((tries) => (tries === 2 ? other.query('COMMIT') : undefined), {}, transaction);
  expect(failedTries().length).toBeGreaterThanOrEqual(2);
  expect(lines[0]).toMatch(/^This batch of Knex holds the table already/);
  expect(lines.at(-1)).toMatch(/: in a transaction of yours, nothing is there before its COMMIT$/);
  await transaction.raw("UPDATE user_profiles SET external_id = 'x'");
  await transaction.commit();
  expect(await isMade()).toBe(true);
});

test('a connection that is cut: what it means, and what to do', async () => {
  await other.query('BEGIN; LOCK user_profiles IN SHARE UPDATE EXCLUSIVE MODE');
  const timer = setInterval(async () => {
    await here().admin.query(
      "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'user_profiles'::regclass AND NOT granted",
    );
  }, 50);
  await expect(attempt().finally(() => clearInterval(timer))).rejects.toThrow(
    'The connection was lost, but no value: the change is made, begun, or not begun. Run the same command again.',
  );
  expect(await isMade()).toBe(false);
});

test('a statement_timeout of the role: named, with what to do', async () => {
  await here().admin.query(`ALTER ROLE ${here().owner} SET statement_timeout = '300ms'`);
  await knex.destroy();
  knex = await knexFor(here().url);
  await other.query('BEGIN; LOCK user_profiles IN SHARE UPDATE EXCLUSIVE MODE');
  await expect(attempt()).rejects.toThrow(
    /statement timeout[\s\S]*PGOPTIONS='-c statement_timeout=0'[\s\S]*ALTER ROLE \.\.\. SET statement_timeout = 0/,
  );
  expect(await isMade()).toBe(false);
  await other.query('COMMIT');
  process.env['PGOPTIONS'] = '-c statement_timeout=0';
  await knex.destroy();
  knex = await knexFor(here().url);
  await attempt().finally(() => delete process.env['PGOPTIONS']);
  expect((await knex.raw('SHOW statement_timeout')).rows[0].statement_timeout).toBe('0');
});

describe('as configured', () => {
  test.each(['soon', '-1', 'NaN', 'Infinity', '1e-9'])('MIGRATION_LOCK_DEADLINE=%s is refused', (seconds) => {
    expect(() => surroundings({ MIGRATION_LOCK_DEADLINE: seconds })).toThrow(
      `MIGRATION_LOCK_DEADLINE is "${seconds}". It is a number of seconds, for example 600.`,
    );
  });

  test('a deadline of 0 means one try', async () => {
    await read();
    const { report: _, ...options } = surroundings({ MIGRATION_LOCK_DEADLINE: '0' });
    await expect(attempt(undefined, options)).rejects.toThrow('Given up after 1 tries');
  });

  test('MIGRATION_QUIET=1 shows nothing', async () => {
    const log = jest.spyOn(console, 'log');
    surroundings({ MIGRATION_QUIET: '1' }).report('x');
    expect(log).not.toHaveBeenCalled();
    log.mockRestore();
  });
});
