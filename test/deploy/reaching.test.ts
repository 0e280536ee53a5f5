import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { connectionFrom, type Environment } from '../../src/database/connection';
import { connect, freshDatabase, loadState, type TestDatabase, urlWith } from '../support/database';
import { knexCommand, type Outcome, projectCommand, run } from '../support/knex';
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
    'hostnossl all visitor all reject\nhostssl all certified all cert\nhost all all all scram-sha-256\nlocal all all scram-sha-256\n',
  );
  const admin = await connect(server.url);
  await admin.query(`CREATE ROLE visitor LOGIN PASSWORD '${password}'`);
  await admin.query('CREATE ROLE certified LOGIN');
  const own = userInfo().username;
  await admin.query(`CREATE ROLE "${own}" LOGIN`).catch(() => undefined);
  await admin.query(`ALTER ROLE "${own}" PASSWORD '${own}'`);
  for (const name of ['visitor', own, 'a/b']) await admin.query(`CREATE DATABASE "${name}"`);
  await admin.query(`ALTER SYSTEM SET ssl_ca_file = '${join(folder, 'ca.pem')}'`);
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
  await database.admin.query(
    `GRANT ${database.owner} TO visitor, certified; ALTER ROLE visitor CONNECTION LIMIT -1 PASSWORD '${password}'`,
  );
});

afterEach(() => database.close());

/** An authority, and the server's certificate from it, for 127.0.0.1; and another authority, which vouches for nothing. */
function certify(data: string): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  for (const name of ['ca', 'other']) {
    openssl(
      ...`req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=${name} -keyout ${name}.key -out ${name}.pem`.split(
        ' ',
      ),
    );
  }
  writeFileSync(join(folder, 'names'), 'subjectAltName = IP:127.0.0.1\n');
  const sign = (name: string, key: string, certificate: string, ...more: string[]) => {
    openssl(...`req -newkey rsa:2048 -nodes -subj /CN=${name} -out ${name}.csr -keyout`.split(' '), key);
    const by = `x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out`;
    openssl(...by.split(' '), certificate, ...more);
  };
  sign('server', join(data, 'server.key'), join(data, 'server.crt'), '-extfile', 'names');
  sign('certified', 'certified.key', 'certified.pem');
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

  test('verify-full: for another name, and what is said to do', async () => {
    const localhost = { DATABASE_URL: visitor().replace('127.0.0.1', 'localhost') };
    const tls = { DB_SSLMODE: 'verify-full', DB_SSLROOTCERT: join(folder, 'ca.pem') };
    const { code, stderr } = await knexCommand(['migrate:latest'], { ...localhost, ...tls });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Cannot connect to database .*localhost.* is not /);
    expect(stderr).toMatch(
      /\nConnect by a name that is in the certificate: host in DATABASE_URL.\nOr DB_SSLMODE=verify-ca: .*DB_SSLROOTCERT=FILE/,
    );
    await reaches({ ...localhost, ...tls, DB_SSLMODE: 'verify-ca' });
    await reaches({ DATABASE_URL: visitor(), ...tls });
  });

  test('verify-full: by another authority, and what is said to do', async () => {
    const tls = { DB_SSLMODE: 'verify-full', DB_SSLROOTCERT: join(folder, 'other.pem') };
    const { code, stderr } = await knexCommand(['migrate:latest'], { DATABASE_URL: visitor(), ...tls });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^Cannot connect to database .*certificate.*\nName the root .*: DB_SSLROOTCERT=FILE. Without one, DB_SSLMODE=require skips/,
    );
    await reaches({ DATABASE_URL: visitor(), ...tls, DB_SSLROOTCERT: join(folder, 'ca.pem') });
    await reaches({ DATABASE_URL: visitor(), DB_SSLMODE: 'require' });
  });

  test('the authorities of the system', async () => {
    const env = { DATABASE_URL: visitor(), PGSSLROOTCERT: 'system' };
    const { code, stderr } = await knexCommand(['migrate:latest'], env);
    expect(code).toBe(1);
    expect(stderr).toMatch(/certificate.*\nName the root .*: PGSSLROOTCERT=FILE/);
    await reaches({ ...env, NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem') });
  });

  test('demanded, and reached without', async () => {
    const { code, stderr } = await knexCommand(['migrate:latest'], { DATABASE_URL: visitor() });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^Cannot connect to .*no encryption.*\nIf it wants TLS: sslmode=require in DATABASE_URL.\n$/,
    );
  });

  test.each(['ssl=true', 'sslmode=require&sslnegotiation=direct'])('as libpq means it: %s', (query) =>
    reaches({ DATABASE_URL: `${visitor()}?${query}` }),
  );

  test('negotiated at once, without TLS', async () => {
    const { stderr } = await knexCommand(['migrate:list'], {
      DATABASE_URL: `${visitor()}?sslnegotiation=direct`,
    });
    expect(stderr).toMatch(
      /requires SSL to be enabled.\nTLS is sslmode=require in DATABASE_URL, or a stricter/,
    );
  });

  test('a client certificate, by parameters, by variables and from the default files', async () => {
    const url = urlWith(database.url, { username: 'certified', password: '' });
    const tls = {
      PGSSLMODE: 'require',
      PGSSLCERT: join(folder, 'certified.pem'),
      PGSSLKEY: join(folder, 'certified.key'),
    };
    const { code, stderr } = await knexCommand(['migrate:list'], { DATABASE_URL: url, PGSSLMODE: 'require' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/client certificate.\nName the files .*: sslcert and sslkey in DATABASE_URL.\n$/);
    await reaches({ DATABASE_URL: url, ...tls });
    const { PGSSLKEY: _, ...keyless } = tls;
    expect((await knexCommand(['migrate:list'], { DATABASE_URL: url, ...keyless })).stderr).toMatch(
      /client certificate.\nName the files of yours and of its key: PGSSLCERT and sslkey in DATABASE_URL.\n$/,
    );
    const query = `sslmode=require&sslcert=${encodeURIComponent(tls.PGSSLCERT)}&sslkey=${encodeURIComponent(tls.PGSSLKEY)}`;
    await reaches({ DATABASE_URL: `${url}?${query}` });
    const files = join(folder, 'home', '.postgresql');
    mkdirSync(files, { recursive: true });
    copyFileSync(tls.PGSSLCERT, join(files, 'postgresql.crt'));
    copyFileSync(tls.PGSSLKEY, join(files, 'postgresql.key'));
    await reaches({ DATABASE_URL: url, PGSSLMODE: 'require', HOME: join(folder, 'home') });
    // As with psql, a root certificate there is one to be checked against.
    copyFileSync(join(folder, 'other.pem'), join(files, 'root.crt'));
    expect(
      (
        await knexCommand(['migrate:list'], {
          DATABASE_URL: url,
          PGSSLMODE: 'require',
          HOME: join(folder, 'home'),
        })
      ).code,
    ).toBe(1);
  });
});

test('a password from ~/.pgpass, without a word on stderr', async () => {
  const { hostname, port } = new URL(database.url);
  writeFileSync(
    join(folder, '.pgpass'),
    `${hostname}:${port}:*:visitor:${password.replace(/[:\\]/g, '\\$&')}\n`,
    { mode: 0o600 },
  );
  const env = {
    PGHOST: hostname,
    PGPORT: port,
    PGDATABASE: database.name,
    PGUSER: 'visitor',
    PGSSLMODE: 'require',
  };
  await reaches({ ...env, HOME: folder });
  await reaches({ ...env, PGPASSFILE: join(folder, '.pgpass') });
  const { stderr } = await knexCommand(['migrate:list'], env);
  expect(stderr).toMatch(/it wants a password.\nGive PGPASSWORD, or a line in ~\/.pgpass.\n$/);
});

describe('as psql understands it', () => {
  const port = () => new URL(database.url).port;
  const socket = () => encodeURIComponent(folder);
  const PGPASSWORD = 'a+b %';

  test.each<[string, () => string, Environment]>([
    ['a plus', () => `visitor@127.0.0.1:${port()}/?dbname=${database.name}&password=a+b%20%25`, {}],
    ['a database by variable', () => `visitor@127.0.0.1:${port()}`, { PGDATABASE: 'template1', PGPASSWORD }],
    [
      'the database of the user',
      () => `visitor@127.0.0.1:${port()}/?options=-c%20search_path%3Da,b`,
      { PGPASSWORD },
    ],
    ['a slash', () => `visitor@127.0.0.1:${port()}/a/b`, { PGPASSWORD, PGOPTIONS: '-c search_path=x' }],
    ['whoever runs it', () => `/?host=${socket()}&port=${port()}`, { PGPASSWORD: userInfo().username }],
    ['a socket as host', () => `visitor:a+b%20%25@${socket()}:${port()}/template1`, {}],
    ['said twice', () => `nobody@h:1/?user=visitor&host=localhost&port=${port()}`, { PGPASSWORD }],
  ])('%s', async (_, url, env) => {
    const { admin } = database;
    await admin.query(`ALTER ROLE visitor PASSWORD '${PGPASSWORD}'`);
    const statement = `SELECT format('%s %s %s', current_user, current_database(), current_setting('search_path')) AS where`;
    const { stdout, stderr } = await run('psql', [`postgres://${url()}`, '-XAtc', statement], {
      PGSSLMODE: 'require',
      ...env,
    });
    const client = new Client({
      ...connectionFrom({ DATABASE_URL: `postgres://${url()}`, PGSSLMODE: 'require', ...env }),
    });
    await client.connect();
    const { rows } = await client.query(statement);
    await client.end();
    expect({ stdout, stderr }).toEqual({ stdout: `${rows[0].where}\n`, stderr: '' });
  });
});

test("the application's .env", async () => {
  const { hostname, port } = new URL(database.url);
  const file = join(folder, 'application.env');
  await database.admin.query(`ALTER ROLE visitor PASSWORD 's3cret#2024'`);
  const lines = [
    `DB_NAME = ${database.name}`,
    `DB_HOST='${hostname}'`,
    `DB_PORT="${port}"`,
    'DB_USER=visitor',
    'DB_PASSWORD=s3cret#2024',
  ];
  writeFileSync(file, lines.join('\n'));
  await reaches({ DOTENV_CONFIG_PATH: file, PGSSLMODE: 'require' });
  await database.admin.query(`ALTER ROLE visitor PASSWORD 'another'`);
  const { stderr } = await knexCommand(['migrate:list'], { DOTENV_CONFIG_PATH: file, PGSSLMODE: 'require' });
  expect(stderr).toMatch(/password authentication failed .*\nCheck DB_PASSWORD/);
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
