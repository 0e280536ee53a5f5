import { setTimeout } from 'node:timers/promises';
import type { Knex } from 'knex';
import type { Client } from 'pg';
import { checked } from '../../src/declaration';
import { run, surroundings } from '../../src/run';
import { locksLeft, schemaOf } from '../support/catalog';
import { connect, databasePerTest } from '../support/database';
import { beginKnex, knexFor } from '../support/knex';

// Ctrl-C and SIGTERM end it in order, wherever it is.
const here = databasePerTest('0015');
const change = checked({ id: '16', table: 'user_profiles', add: { external_id: { type: 'varchar(255)' } } });

let knex: Knex;
let other: Client;
beforeEach(async () => {
  knex = await knexFor(here().url);
  other = await connect(here().url);
});
afterEach(async () => {
  await other.end();
  await knex.destroy();
});

/** Makes the change, and tells each line. */
const attempt = (report: (line: string) => unknown = () => undefined, on: Knex = knex) =>
  run(on, change, 'up', { ...surroundings({}), report });

/** Emits the signal once such a line is told. */
const emit =
  (signal: NodeJS.Signals, words = 'Try 1; ') =>
  (line: string) => {
    if (line.includes(words)) process.emit(signal, signal);
  };

const read = () => other.query('BEGIN; SELECT FROM user_profiles');
const isMade = async () =>
  (await schemaOf(here().client)).some((line) => line.includes('user_profiles.external_id'));
/** The server tells of an error a moment before it lets go of the locks. */
async function expectNoLocks() {
  while ((await locks()).length > 0) await setTimeout(5);
}
const locks = () => locksLeft(here().client, other);

const ended = (signal: string) => new RegExp(`^${signal}: ended.* nothing is locked`, 'is');

test('while it sleeps', async () => {
  await read();
  await expect(attempt(emit('SIGINT'))).rejects.toThrow(ended('SIGINT'));
  expect(await isMade()).toBe(false);
  await expectNoLocks();
});

test('where the server passes over the first request, as between two statements', async () => {
  await here().client.query(`
    CREATE FUNCTION passes_over() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      BEGIN PERFORM pg_sleep(20); EXCEPTION WHEN query_canceled THEN NULL; END;
      PERFORM pg_sleep(20); RETURN NEW; END $$;
    CREATE TRIGGER passes_over BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE passes_over()`);
  const made = expect(attempt()).rejects.toThrow(ended('SIGINT'));
  const sleeping =
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
  while ((await here().admin.query(sleeping)).rowCount === 0) await setTimeout(10);
  process.emit('SIGINT', 'SIGINT');
  await made;
  expect(await isMade()).toBe(false);
  await expectNoLocks();
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s to the command', async (signal) => {
  await read();
  const { child, outcome } = beginKnex(['migrate:latest'], { DATABASE_URL: here().url });
  child.stdout?.on('data', (text: string) => {
    if (text.includes('Try 1; ')) child.kill(signal);
  });
  const { code, stderr } = await outcome;
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(`${signal}: ended`) });
  expect(stderr).not.toContain('    at ');
  await expectNoLocks();
});

test('the one after it ends the process, whichever it is', async () => {
  await read();
  const listeners = () => ['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => process.listenerCount(signal));
  const before = listeners();
  const after: number[][] = [];
  await attempt((line) => {
    emit('SIGTERM')(line);
    after.push(listeners());
  }).catch(() => undefined);
  expect(after).toEqual([before]);
});

test('while it waits in line', async () => {
  await other.query('BEGIN; LOCK user_profiles IN SHARE UPDATE EXCLUSIVE MODE');
  const timer = setInterval(async () => {
    if ((await locks()).length > 0) process.emit('SIGTERM', 'SIGTERM');
  }, 50);
  await expect(attempt().finally(() => clearInterval(timer))).rejects.toThrow(ended('SIGTERM'));
  expect(await isMade()).toBe(false);
  await expectNoLocks();
});

test("in Knex's transaction, on the only connection: nothing goes on in the server", async () => {
  await read();
  const transaction = await knex.transaction();
  await transaction.raw('SELECT FROM user_profiles');
  await expect(attempt(emit('SIGINT'), transaction)).rejects.toThrow(ended('SIGINT'));
  await transaction.rollback().catch(() => undefined);
  const { rows } = await here().admin.query(
    "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DO %' AND state = 'active'",
  );
  expect(rows).toEqual([]);
  await expectNoLocks();
  expect(await isMade()).toBe(false);
});

test('that comes too late', async () => {
  const lines: string[] = [];
  // The lines come behind the COMMIT; whether the signal reaches the server before the end is chance.
  const said = await attempt((line) => {
    lines.push(line);
    emit('SIGINT', 'ADD COLUMN external_id')(line);
  }).then(() => lines.at(-1), String);
  expect(said).toMatch(/SIGINT came too late: the work is done\.|SIGINT: ended/);
  expect(await isMade()).toBe(true);
});

test('leaves no listener behind', async () => {
  const before = process.listenerCount('SIGINT');
  await attempt();
  expect(process.listenerCount('SIGINT')).toBe(before);
});
