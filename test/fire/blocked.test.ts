import { setTimeout as sleep } from 'node:timers/promises';
import { policy } from '../../src/program/policy';
import { locksLeft, schemaOf } from '../support/catalog';
import { connect, databasePerTest, loadState, urlWith } from '../support/database';
import { knexCommand } from '../support/knex';
import { psqlScript, testWithPsql } from '../support/psql';
import { isFull } from './numbers';
import { shapeOf } from './profiles';
import { readersDuring } from './readers';

// Somebody has the table for longer than the command may wait.

const here = databasePerTest();

describe('the deadline', () => {
  const migrate = (url = here().url) =>
    knexCommand(['migrate:latest'], { DATABASE_URL: url, MIGRATION_LOCK_DEADLINE: '3' });

  beforeEach(() => loadState(here().client, '0015'));

  test('whoever is in the way is named; nothing is changed and nothing is locked', async () => {
    const { client, admin, url, owner } = here();
    const before = await schemaOf(client);
    const blocker = await connect(urlWith(url, {}));
    await blocker.query("SET application_name = 'nightly report'");
    await blocker.query('BEGIN');
    await blocker.query('SELECT count(*)\nFROM user_profiles');
    const { rows } = await blocker.query('SELECT pg_backend_pid() AS pid');
    await blocker.query("SELECT count(*) FROM user_profiles WHERE phone = '555'");
    const { code, stdout, stderr } = await migrate();
    expect(code).toBe(1);
    // Several tries. What they did is undone, so it is not said.
    expect(stdout.match(/the next one in/g)?.length).toBeGreaterThan(1);
    expect(stdout).not.toContain('ALTER TABLE');
    const { pid } = rows[0];
    expect(stderr.split('\n').slice(1)).toEqual([
      'user_profiles is in use: no ACCESS EXCLUSIVE lock in time',
      expect.stringMatching(
        `^Held by pid ${pid}, user ${owner}, application 'nightly report', idle in transaction, transaction open for [0-9.]+ s: SELECT count\\(\\*\\) FROM user_profiles WHERE phone = \\.\\.\\.`,
      ),
      `To end what is in the way, as its user: SELECT pg_terminate_backend(${pid});`,
      expect.stringMatching(
        /^Given up after \d+ tries in [\d.]+ s; nothing is locked\. To wait longer: MIGRATION_LOCK_DEADLINE/,
      ),
      '',
    ]);
    expect(await schemaOf(client)).toEqual(before);
    expect((await locksLeft(client)).filter((lock) => !JSON.stringify(lock).includes('nightly'))).toEqual([]);

    // What it says to do helps.
    await admin.query(`SELECT pg_terminate_backend(${pid})`);
    expect((await migrate()).code).toBe(0);
    expect(await shapeOf(client)).toBe('after');
    await blocker.end().catch(() => undefined);
  });
});

describe('behind a transaction that stays open, nobody waits longer than a try may', () => {
  const routes = {
    'migrate:latest': () => knexCommand(['migrate:latest'], { DATABASE_URL: here().url }),
    'add_security_fields.sql': () => psqlScript('add_security_fields', here().url),
  };
  /** Until two requests for the lock have been made and are over, however slow the machine is. */
  const twoTries = async () => {
    for (const isWaiting of [true, false, true, false]) {
      const asked = `SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
      while (((await here().admin.query(asked)).rowCount === 1) !== isWaiting) await sleep(5);
    }
  };
  testWithPsql.each(Object.entries(routes))('%s', async (name, send) => {
    const { client, url } = here();
    await loadState(client, '0015');
    const report = await connect(url);
    await report.query('BEGIN; SELECT count(*) FROM user_profiles');
    const [outcome, { longest, elsewhere }] = await readersDuring(url, async () => {
      const sent = send();
      await twoTries();
      if (isFull) await sleep(8000);
      await report.end();
      return sent;
    });
    expect(outcome).toMatchObject({ code: 0 });
    expect(await shapeOf(client)).toBe('after');
    const tries = `${outcome.stdout}${outcome.stderr}`.match(/no ACCESS EXCLUSIVE lock in time/g)?.length;
    process.stderr.write(
      `${name}: ${tries} tries failed, longest read ${Math.round(longest)} ms, elsewhere ${Math.round(elsewhere)} ms\n`,
    );
    expect(tries).toBeGreaterThan(1);
    // Two waits at the most: in line, and while the work is done.
    expect(longest).toBeLessThan(2 * policy.lockBudget + elsewhere);
  });
});

test('256 partitions, each with a reader: one budget for all of a try’s locks', async () => {
  const { client, url } = here();
  await loadState(client, '0015');
  await client.query(`
    ALTER TABLE user_profiles RENAME TO whole;
    CREATE TABLE user_profiles (LIKE whole INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    DO $$ BEGIN FOR i IN 0..255 LOOP
      EXECUTE format('CREATE TABLE part_%s PARTITION OF user_profiles FOR VALUES FROM (%s) TO (%s)', i, i * 100, i * 100 + 100);
    END LOOP; END $$;
    INSERT INTO user_profiles SELECT * FROM whole`);
  // Twenty-four partitions are held at any time, so that all the waits together are longer than a budget, and none alone.
  let isOver = false;
  const readers = Array.from({ length: 24 }, async (_, first) => {
    const reader = await connect(url);
    while (!isOver) {
      for (let i = first; i < 256 && !isOver; i += 24) {
        await reader.query(`BEGIN; SELECT 1 FROM part_${i} LIMIT 1`);
        await sleep(60);
        await reader.query('COMMIT');
      }
    }
    await reader.end();
  });
  // A reader of the whole table waits for the parent's lock, which is taken first.
  const [{ code, stdout }, { longest, elsewhere }] = await readersDuring(url, () =>
    knexCommand(['migrate:latest'], { DATABASE_URL: url, MIGRATION_LOCK_DEADLINE: '4' }),
  );
  isOver = true;
  await Promise.all(readers);
  const tries = stdout.match(/no ACCESS EXCLUSIVE lock in time/g)?.length ?? 0;
  process.stderr.write(
    `256 partitions: ${tries} tries failed, exit code ${code}, longest read ${Math.round(longest)} ms, elsewhere ${Math.round(elsewhere)} ms\n`,
  );
  expect(longest).toBeLessThan(600 + elsewhere);
});
