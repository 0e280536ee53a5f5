import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Environment } from '../../src/database/connection';
import { connect, freshDatabase, loadState, type TestDatabase, urlWith } from '../support/database';
import { knexCommand, type Outcome, projectCommand } from '../support/knex';
import { startTestServer, type TestServer, testCluster } from '../support/server';

/** Of the role `visitor`. */
export const password = 'p@ss/w%rd:é#ß?&';

export interface Reached {
  /** With the server's socket, ca.pem, other.pem, and certified.pem and certified.key for the role of that name. */
  readonly folder: string;
  readonly database: TestDatabase;
  /** To the database, as `visitor`. */
  readonly visitor: string;
}

/**
 * A server with a certificate from an authority of its own and with a Unix socket, and a database for each test. The role
 * `visitor`, a member of the one that owns the table, gets in by TCP only with TLS; `certified` by certificate alone.
 */
export function reachedServer(): () => Reached {
  let folder: string;
  let server: TestServer;
  let database: TestDatabase;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'reach-'));
    chmodSync(folder, 0o777);
    server = await startTestServer(testCluster({ unix_socket_directories: folder }));
    const { data } = server.cluster;
    certify(folder, data);
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

  return () => ({
    folder,
    database,
    visitor: urlWith(database.url, { username: 'visitor', password: encodeURIComponent(password) }),
  });
}

/** An authority, and the server's certificate from it, for 127.0.0.1; and another authority, which vouches for nothing. */
function certify(folder: string, data: string): void {
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
export async function works(env: Environment): Promise<Outcome> {
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
export async function reaches(env: Environment): Promise<void> {
  expect(await knexCommand(['migrate:list'], env)).toMatchObject({ code: 0, stderr: '' });
}
