import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stop } from '../src/database/server';
import { connect } from '../test/support/database';
import { startProxy } from '../test/support/proxy';
import { startTestServer, type TestServer, testCluster } from '../test/support/server';

/** A server, and a copy of it that can follow it. */
export interface Pair {
  readonly url: string;
  /** Runs `work` while every COMMIT of the tools waits until the copy has confirmed it, so many milliseconds later. */
  readonly confirmed: <T>(after: number, work: () => Promise<T>) => Promise<T>;
  readonly remove: () => Promise<void>;
}

export async function startPair(given: Readonly<Record<string, string>>): Promise<Pair> {
  // What the copy has not seen yet is kept for it.
  const settings = { ...given, wal_keep_size: '4GB' };
  const { cluster } = await startTestServer(testCluster(settings));
  stop(cluster);
  const copy = testCluster(settings);
  execFileSync('cp', ['-a', cluster.data, copy.data]);
  writeFileSync(join(copy.data, 'standby.signal'), '');
  const primary = await startTestServer(cluster);
  const admin = await connect(primary.url);
  // What the benchmark itself does waits for nobody.
  await admin.query('ALTER ROLE postgres SET synchronous_commit = local');
  await admin.query('SET synchronous_commit = local');

  async function awaited(standby: '*' | ''): Promise<void> {
    await admin.query(`ALTER SYSTEM SET synchronous_standby_names = '${standby}'`);
    await admin.query('SELECT pg_reload_conf()');
    const query = 'SELECT FROM pg_stat_replication WHERE sync_state = $1';
    for (const began = performance.now(); ; await sleep(20)) {
      if ((await admin.query(query, ['sync'])).rows.length === standby.length) return;
      if (performance.now() - began > 60_000)
        throw new Error('The standby does not follow. See its server.log.');
    }
  }

  async function follow(after: number): Promise<() => Promise<void>> {
    const proxy = await startProxy(primary.url, { delay: after / 2 });
    const { hostname, port, username, password } = new URL(proxy.url(primary.url));
    const primary_conninfo = `host=${hostname} port=${port} user=${username} password=${password}`;
    const standby: TestServer = await startTestServer({
      ...copy,
      settings: { ...settings, primary_conninfo },
    });
    return async () => {
      stop(standby.cluster);
      await proxy.close();
    };
  }

  return {
    url: primary.url,
    confirmed: async (after, work) => {
      if (after === 0) return work();
      const leave = await follow(after);
      await awaited('*');
      try {
        return await work();
      } finally {
        await awaited('');
        await leave();
      }
    },
    remove: async () => {
      await admin.end();
      await primary.remove();
      execFileSync('rm', ['-rf', copy.data]);
    },
  };
}
