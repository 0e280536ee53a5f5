import { setTimeout as sleep } from 'node:timers/promises';
import { up } from '../../migrations/0016_add_security_fields';
import { connect, databasePerTest } from '../support/database';
import { knexFor } from '../support/knex';
import { migrateWith } from '../support/routes';

const here = databasePerTest('0015');

// The builder waits for every transaction that was reading when it looked round, to its end.
test("an index build that waits for Knex's transaction, while we wait for its lock: ended, not at the deadline", async () => {
  const { admin, url } = here();
  const knex = await knexFor(url);
  const builder = await connect(url);
  const batch = await knex.transaction();
  // With a parameter: what has been read stays open until the next query.
  await batch.raw('SELECT ?::int', [1]);
  const built = builder.query('CREATE INDEX CONCURRENTLY beside ON user_profiles (phone)');
  const waits = `SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event = 'virtualxid'`;
  while ((await admin.query(waits)).rows.length === 0) await sleep(20);
  const started = performance.now();
  await expect(migrateWith(batch, 'up', { up, down: up })).rejects.toThrow(/run the same command again/);
  expect(performance.now() - started).toBeLessThan(20_000);
  await batch.rollback();
  await built;
  await migrateWith(knex, 'up');
  await Promise.all([builder.end(), knex.destroy()]);
});
