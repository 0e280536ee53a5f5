import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
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

/** A cluster that this process alone uses, not yet created; `native` chooses another version's binaries. */
export function testCluster(settings: Cluster['settings'] = {}, native = process.env['PG_NATIVE']): Cluster {
  const embedded = embeddedCluster(undefined, native);
  const data = join(dirname(embedded.data), `test-${randomBytes(4).toString('hex')}`);
  return { native: embedded.native, data, settings: { fsync: 'off', ...settings } };
}

/** Starts a server that ends with this process, however that ends. */
export async function startTestServer(cluster = testCluster()): Promise<TestServer> {
  guard(cluster.data);
  return {
    cluster,
    url: await start(cluster),
    log: join(cluster.data, 'server.log'),
    remove: async () => removeServer(cluster),
  };
}

/** A server that was prepared and then follows a primary that is not there: read-only for good. */
export async function startStandby(prepare: (url: string) => Promise<void>): Promise<TestServer> {
  const primary = await startTestServer();
  const { data } = primary.cluster;
  await prepare(primary.url);
  stop(primary.cluster);
  const major = Number(readFileSync(join(data, 'PG_VERSION'), 'utf8'));
  if (major >= 12) writeFileSync(join(data, 'standby.signal'), '');
  else writeFileSync(join(data, 'recovery.conf'), "standby_mode = 'on'\n", { mode: 0o644 });
  return startTestServer(primary.cluster);
}

export function removeServer(cluster: Cluster): void {
  stop(cluster);
  rmSync(cluster.data, { recursive: true, force: true });
}

/** A port of this machine on which nobody listens at the moment. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await once(probe.close(), 'close');
  return port;
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
