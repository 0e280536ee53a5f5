import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Environment } from '../../src/database/connection';
import { connect, freshDatabase, loadState, type TestDatabase, urlWith } from '../support/database';
import { knexCommand, type Outcome, projectCommand } from '../support/knex';
import { startTestServer, type TestServer, testCluster } from '../support/server';

let folder: string;
let server: TestServer;
let database: TestDatabase;
const password = 'p@ss/w%rd:é#ß?&';

// A server with a certificate from an authority of its own and with a Unix socket. The role `visitor`, a member of
// the one that owns the table, gets in by TCP only with TLS.
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'reach-'));
  chmodSync(folder, 0o777);
  server = await startTestServer(testCluster({ unix_socket_directories: folder }));
  const { data } = server.cluster;
  certify(data);
  writeFileSync(
    join(data, 'pg_hba.conf'),
    'hostnossl all visitor all reject\nhost all all all scram-sha-256\nlocal all all scram-sha-256\n',
  );
  const admin = await connect(server.url);
  await admin.query(`CREATE ROLE visitor LOGIN PASSWORD '${password}'`);
  await admin.query('ALTER SYSTEM SET ssl = on');
  await admin.query('SELECT pg_reload_conf()');
  while ((await admin.query('SHOW ssl')).rows[0].ssl !== 'on')
    await new Promise((resolve) => setTimeout(resolve, 20));
  await admin.end();
});

afterAll(async () => {
  await server?.remove();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  database = await freshDatabase(server.url);
  await loadState(database.client, '0015');
  await database.admin.query(`GRANT ${database.owner} TO visitor; ALTER ROLE visitor CONNECTION LIMIT -1`);
});

afterEach(() => database.close());

/** An authority, and the server's certificate from it, for 127.0.0.1; and another authority, which vouches for nothing. */
function certify(data: string): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  for (const name of ['ca', 'other']) {
    openssl(
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
    );
  }
  writeFileSync(join(folder, 'names'), 'subjectAltName = IP:127.0.0.1\n');
  openssl(
    'req',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=server',
    '-keyout',
    join(data, 'server.key'),
    '-out',
    'server.csr',
  );
  openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    '-CA',
    'ca.pem',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'names',
    '-out',
    join(data, 'server.crt'),
  );
  const { uid, gid } = statSync(data);
  for (const file of ['server.key', 'server.crt']) {
    chownSync(join(data, file), uid, gid);
    chmodSync(join(data, file), 0o600);
  }
}

/** There and back by the command line, which says nothing on stderr. */
async function works(env: Environment): Promise<Outcome> {
  const latest = await knexCommand(['migrate:latest'], env);
  expect(latest).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringContaining('Batch 1 run: 1 migrations'),
  });
  expect(await projectCommand('verify', [], env)).toMatchObject({ code: 0, stderr: '' });
  expect(await projectCommand('plan', ['--down'], env)).toMatchObject({ code: 0, stderr: '' });
  expect(await knexCommand(['migrate:down'], env)).toMatchObject({ code: 0, stderr: '' });
  return latest;
}

/** The connection alone. */
async function reaches(env: Environment): Promise<void> {
  expect(await knexCommand(['migrate:list'], env)).toMatchObject({ code: 0, stderr: '' });
}

const visitor = () => urlWith(database.url, { username: 'visitor', password: encodeURIComponent(password) });

describe('TLS with an authority of its own', () => {
  test('verify-full: right', async () => {
    const env = {
      DATABASE_URL: visitor(),
      DB_SSLMODE: 'verify-full',
      DB_SSLROOTCERT: join(folder, 'ca.pem'),
    };
    await works(env);
    await reaches({
      DATABASE_URL: `${visitor()}?sslmode=verify-full&sslrootcert=${encodeURIComponent(join(folder, 'ca.pem'))}`,
    });
  });

  test.each<[string, string, RegExp]>([
    ['for another name', 'localhost', /localhost.* (is not in|does not match)/i],
    ['by another authority', '127.0.0.1', /certificate/],
  ])('verify-full: wrong, %s', async (why, host, message) => {
    const root = why === 'by another authority' ? 'other.pem' : 'ca.pem';
    const DATABASE_URL = visitor().replace('127.0.0.1', host);
    const { code, stderr } = await knexCommand(['migrate:latest'], {
      DATABASE_URL,
      DB_SSLMODE: 'verify-full',
      DB_SSLROOTCERT: join(folder, root),
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^Cannot connect to database .*\nName the root certificate in DB_SSLROOTCERT; sslmode=require/,
    );
    expect(stderr).toMatch(message);
  });

  test('demanded, and reached without', async () => {
    const { code, stderr } = await knexCommand(['migrate:latest'], { DATABASE_URL: visitor() });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^Cannot connect to .*no encryption.*\nIf it wants TLS: say require in DB_SSLMODE/,
    );
  });
});

test('a Unix socket, by URL and by names', async () => {
  const { port } = new URL(database.url);
  const user = `user=visitor&password=${encodeURIComponent(password)}`;
  await works({
    DATABASE_URL: `postgres:///${database.name}?host=${encodeURIComponent(folder)}&port=${port}&${user}`,
  });
  await works({
    DB_HOST: folder,
    DB_PORT: port,
    DB_NAME: database.name,
    DB_USER: 'visitor',
    DB_PASSWORD: password,
  });
});

test("a password with everything in it, by names of the application and by libpq's", async () => {
  const { hostname, port } = new URL(database.url);
  const tls = { DB_SSLMODE: 'require' };
  await reaches({
    ...tls,
    DB_HOST: hostname,
    DB_PORT: port,
    DB_NAME: database.name,
    DB_USER: 'visitor',
    DB_PASSWORD: password,
  });
  await reaches({
    ...tls,
    PGHOST: hostname,
    PGPORT: port,
    PGDATABASE: database.name,
    PGUSER: 'visitor',
    PGPASSWORD: password,
  });
});

test('a role with one connection', async () => {
  await database.admin.query('ALTER ROLE visitor CONNECTION LIMIT 1');
  const { stdout } = await works({ DATABASE_URL: visitor(), DB_SSLMODE: 'require' });
  expect(stdout).toMatch(
    /The change is made on Knex's own connection, as there is no second one: .*too many connections for role "visitor"/,
  );
});
