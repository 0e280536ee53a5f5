import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { embeddedCluster } from '../../src/database/embedded';
import { type Cluster, start, stop } from '../../src/database/server';

export interface TestServer {
  readonly cluster: Cluster;
  /** Of the superuser, to the database `postgres`. */
  readonly url: string;
  /** The file that the server logs to. */
  readonly log: string;
  readonly remove: () => Promise<void>;
}

let count = 0;

/** A cluster that this process alone uses, not yet created; `native` chooses another version's binaries. */
export function testCluster(settings: Cluster['settings'] = {}, native = process.env['PG_NATIVE']): Cluster {
  const embedded = embeddedCluster(undefined, native);
  const data = join(dirname(embedded.data), `test-${process.pid}-${++count}`);
  return { native: embedded.native, data, settings: { fsync: 'off', ...settings } };
}

/** Starts a server that ends with this process, however that ends. */
export async function startTestServer(cluster = testCluster()): Promise<TestServer> {
  guard(cluster.data);
  const { user, password, host, port } = await start(cluster);
  return {
    cluster,
    url: `postgres://${user}:${password}@${host}:${port}/postgres`,
    log: join(cluster.data, 'server.log'),
    remove: () => removeServer(cluster.data),
  };
}

export async function removeServer(data: string): Promise<void> {
  await stop(data);
  rmSync(data, { recursive: true, force: true });
}

/**
 * A process that outlives this one, even after SIGKILL, for as long as it takes to stop the server of a folder and to
 * remove the folder: its standard input is a pipe that ends with this process.
 */
export function guard(data: string): void {
  const script = `read -r _
    for i in 1 2 3 4 5 6 7 8 9 10; do
      [ -d "$0" ] || exit
      [ -s "$0/postmaster.pid" ] && kill -INT "$(head -n 1 "$0/postmaster.pid")"
      sleep 0.2
    done
    rm -rf "$0"`;
  const watcher = spawn('sh', ['-c', script, data], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  watcher.unref();
  (watcher.stdin as unknown as { unref(): void }).unref();
}
