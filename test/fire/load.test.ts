import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { connect, freshDatabase, type TestDatabase } from '../support/database';
import { knexCommand } from '../support/knex';
import { isFull } from './numbers';
import { digest, loadProfiles, shapeOf, useNewColumns } from './profiles';

const people = isFull ? 1_000_000 : 50_000;
/** Milliseconds that a statement of the application may wait for a lock because of us. */
const bound = 600;

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase();
  await loadProfiles(database.client, people);
  await database.client.query('CREATE TABLE elsewhere AS SELECT 0 AS n');
});

afterAll(() => database.close());

/** What application connections went through. */
interface Load {
  statements: number;
  /** By person, how often the application counted up. */
  readonly counted: Map<number, number>;
  readonly errors: unknown[];
  /** The longest statement, as its client saw it, in milliseconds. */
  slowest: number;
  /** The longest statement on a table that nobody locks: what this machine does to anybody at this time. */
  slowestElsewhere: number;
  /** The longest wait for a lock on the table, as the server saw it: nobody but us makes anybody wait for one. */
  longestWait: number;
}

/** Eight connections that read and write without a pause, one whose transactions stay open, one that watches the others. */
async function underLoad(work: (longestWait: () => number) => Promise<void>): Promise<Load> {
  const load: Load = {
    statements: 0,
    counted: new Map(),
    errors: [],
    slowest: 0,
    slowestElsewhere: 0,
    longestWait: 0,
  };
  let isOver = false;
  const loop = async (one: (client: Client) => Promise<void>) => {
    const client = await connect(database.url);
    try {
      while (!isOver) await one(client);
    } catch (error) {
      load.errors.push(error);
    } finally {
      await client.end();
    }
  };
  const timed = async (client: Client, sql: string, values: unknown[] = []) => {
    const begun = performance.now();
    await client.query(sql, values);
    load.slowest = Math.max(load.slowest, performance.now() - begun);
    load.statements++;
  };
  const count = async (client: Client, id: number) => {
    await timed(client, 'UPDATE user_profiles SET phone = coalesce(phone::int, 0) + 1 WHERE id = $1', [id]);
    load.counted.set(id, (load.counted.get(id) ?? 0) + 1);
  };
  const somebody = () => 1 + Math.floor(Math.random() * people);

  const application = async (client: Client) => {
    const id = somebody();
    await timed(client, 'SELECT role, mfa_enabled, email_verified FROM user_profiles WHERE id = $1', [id]);
    await count(client, id);
    // A request in one transaction, which reads before it writes.
    await timed(client, 'BEGIN');
    await timed(client, 'SELECT email_verification_token FROM user_profiles WHERE id = $1', [somebody()]);
    await sleep(5);
    await count(client, somebody());
    await timed(client, 'COMMIT');
  };
  const report = async (client: Client) => {
    await client.query('BEGIN');
    await client.query('SELECT count(*) FROM user_profiles WHERE id <= 1000');
    await sleep(200 + Math.random() * (isFull ? 2800 : 600));
    await client.query('COMMIT');
  };
  const watch = async (client: Client) => {
    const { rows } = await client.query(
      `SELECT max(extract(epoch FROM clock_timestamp() - waitstart) * 1000)::float8 AS longest
       FROM pg_locks JOIN pg_stat_activity USING (pid)
       WHERE relation = 'user_profiles'::regclass AND NOT granted AND application_name = ''`,
    );
    load.longestWait = Math.max(load.longestWait, rows[0].longest ?? 0);
    const begun = performance.now();
    await client.query('UPDATE elsewhere SET n = n + 1');
    load.slowestElsewhere = Math.max(load.slowestElsewhere, performance.now() - begun);
    await sleep(5);
  };
  const loops = [...Array.from({ length: 8 }, () => loop(application)), loop(report), loop(watch)];
  try {
    await sleep(1000);
    await work(() => load.longestWait);
  } finally {
    isOver = true;
    await Promise.all(loops);
  }
  return load;
}

test(`nobody waits long and nothing is lost, with ${people.toLocaleString('en')} rows`, async () => {
  const { client } = database;
  const summary: string[] = [];
  let values = '';
  const load = await underLoad(async (soFar) => {
    for (const command of [
      'migrate:latest',
      'migrate:down',
      'migrate:latest',
      'migrate:down',
      'migrate:latest',
    ]) {
      const { code, stdout, stderr } = await knexCommand([command], {
        DATABASE_URL: database.url,
        // Each try has the chance that a report ends within 200 ms: about one in eight.
        MIGRATION_LOCK_DEADLINE: '300',
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(await shapeOf(client)).toBe(command === 'migrate:latest' ? 'after' : 'before');
      summary.push(
        `${command}: ${stdout.split('the next one in').length} tries, longest wait so far ${soFar().toFixed(0)} ms`,
      );
      if (command === 'migrate:latest' && values === '') {
        await useNewColumns(client);
        values = await digest(client);
      }
    }
  });
  const { rows } = await client.query(
    'SELECT id::int, phone::int AS counted FROM user_profiles WHERE phone IS NOT NULL ORDER BY id',
  );
  summary.push(
    `${load.statements} statements, ${load.errors.length} failed; longest wait for us ${load.longestWait.toFixed(0)} ms, longest statement ${load.slowest.toFixed(0)} ms, elsewhere ${load.slowestElsewhere.toFixed(0)} ms`,
  );
  process.stderr.write(`${summary.join('\n')}\n`);
  expect(load.errors).toEqual([]);
  expect(rows).toEqual([...load.counted].sort(([a], [b]) => a - b).map(([id, counted]) => ({ id, counted })));
  expect(await digest(client)).toBe(values);
  expect(load.longestWait).toBeLessThan(bound + load.slowestElsewhere);
});
