import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { freshDatabase, type TestDatabase } from '../support/database';
import { knexCommand } from '../support/knex';
import { startTestServer, type TestServer, testCluster } from '../support/server';
import { loadProfiles, shapeOf } from './profiles';

let server: TestServer;
let database: TestDatabase;

beforeAll(async () => {
  // A worker that starts at once and takes minutes for one table.
  server = await startTestServer(
    testCluster({
      autovacuum_naptime: '1s',
      autovacuum_vacuum_cost_delay: '100ms',
      autovacuum_vacuum_cost_limit: '1',
      log_autovacuum_min_duration: '0',
    }),
  );
  database = await freshDatabase(server.url);
});

afterAll(async () => {
  await database.close();
  await server.remove();
});

// The first try is short, and sees who it is; the second one waits until the worker gives way.
test('autovacuum at work on the table gives way, to the second try', async () => {
  const { client, admin, url } = database;
  await loadProfiles(client, 50_000);
  await client.query('UPDATE user_profiles SET phone = 1');
  const working = async () => {
    const { rows } = await admin.query(
      `SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
       WHERE relation = 'user_profiles'::regclass AND backend_type = 'autovacuum worker' AND mode = 'ShareUpdateExclusiveLock'`,
    );
    return rows.length > 0;
  };
  while (!(await working())) await sleep(50);
  const begun = performance.now();
  const { code, stdout } = await knexCommand(['migrate:latest'], { DATABASE_URL: url });
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.not.stringContaining('Try 2') });
  process.stderr.write(
    `autovacuum gave way; migrate:latest took ${Math.round(performance.now() - begun)} ms\n`,
  );
  expect(await shapeOf(client)).toBe('after');
  const log = readFileSync(server.log, 'utf8');
  expect(log).toMatch(/canceling autovacuum task/);
});
