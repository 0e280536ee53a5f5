import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TestDatabase, urlWith } from './database';
import { freePort } from './server';

export interface Pooler {
  /** The database as its owner, through the pooler. */
  readonly url: string;
  readonly close: () => Promise<void>;
}

/** Debian's package pgbouncer, or none. */
export function pgbouncerVersion(): string | undefined {
  try {
    return execFileSync('pgbouncer', ['--version'], { encoding: 'utf8' }).split('\n')[0];
  } catch {
    return undefined;
  }
}

/** A pgbouncer in transaction mode before this database, with everything else as it comes. */
export async function startPgbouncer(database: TestDatabase, poolSize: number): Promise<Pooler> {
  const folder = mkdtempSync(join(tmpdir(), 'pgbouncer-'));
  const { port } = new URL(database.url);
  const listenPort = await freePort();
  writeFileSync(join(folder, 'users.txt'), `"${database.owner}" "${database.owner}"\n`);
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    `[databases]
${database.name} = host=127.0.0.1 port=${port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listenPort}
unix_socket_dir =
auth_type = plain
auth_file = ${join(folder, 'users.txt')}
pool_mode = transaction
default_pool_size = ${poolSize}
`,
  );
  const nobody = 65534;
  const isRoot = process.getuid?.() === 0;
  for (const path of [folder, join(folder, 'users.txt'), join(folder, 'pgbouncer.ini')]) {
    if (isRoot) chownSync(path, nobody, nobody);
  }
  chmodSync(folder, 0o700);
  // It refuses to run as root.
  const child = spawn('pgbouncer', ['pgbouncer.ini'], {
    cwd: folder,
    stdio: 'ignore',
    ...(isRoot && { uid: nobody, gid: nobody }),
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const url = urlWith(database.url, { port: String(listenPort) });
  await answers(url);
  return {
    url,
    close: async () => {
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function answers(url: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; ; ) {
    try {
      return await (await connect(url)).end();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
