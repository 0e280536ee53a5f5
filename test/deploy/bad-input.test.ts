import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Environment } from '../../src/database/connection';
import { connect, freshDatabase, loadState, type TestDatabase, urlWith } from '../support/database';
import { knexCommand, project, projectCommand } from '../support/knex';
import { startStandby, type TestServer } from '../support/server';

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase();
  await loadState(database.client, '0015');
});

afterAll(() => database.close());

/** Runs the command line, which must fail with a message of a few lines for people. */
async function complaint(env: Environment, ...args: string[]): Promise<string> {
  const { code, stderr } = await knexCommand(args.length > 0 ? args : ['migrate:latest'], env);
  expect(code).toBe(1);
  expect(stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(4);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stderr).not.toMatch(/CREATE TABLE "|UPDATE "|SELECT |DO \$|undefined|secret/i);
  return stderr;
}

const commands = [
  ['migrate:latest'],
  ['migrate:up'],
  ['migrate:down'],
  ['migrate:rollback'],
  ['migrate:list'],
];

test.each(commands)('an unreachable server: %s', async (command) => {
  expect(await complaint({ DATABASE_URL: 'postgres://u:secret@127.0.0.1:1/d' }, command)).toBe(
    'Cannot connect to database "d" at 127.0.0.1:1 as "u": nothing listens there.\n' +
      'Is the server running? Check host and port in DATABASE_URL.\n',
  );
});

test('an unknown host', async () => {
  expect(await complaint({ DB_HOST: 'database.invalid', DB_NAME: 'd', DB_PASSWORD: 'secret' })).toMatch(
    /^Cannot connect to database "d" at database.invalid:5432 .*: the host name is not known.\n/,
  );
});

test('a wrong password, by URL and by names', async () => {
  const refusal = `password authentication failed for user "${database.owner}".\n`;
  const DATABASE_URL = urlWith(database.url, { password: 'secret' });
  expect(await complaint({ DATABASE_URL })).toContain(
    `${refusal}Check password in DATABASE_URL (where @ : /`,
  );
  const { hostname: DB_HOST, port: DB_PORT } = new URL(database.url);
  const names = { DB_HOST, DB_PORT, DB_NAME: database.name, DB_USER: database.owner };
  expect(await complaint({ ...names, DB_PASSWORD: 'secret' })).toContain(
    `${refusal}Check DB_PASSWORD, or the line in ~/.pgpass.\n`,
  );
  expect(await complaint(names)).toMatch(/it wants a password\.\nGive DB_PASSWORD, or/);
  // The driver leaves the connection open: it must not be waited for.
  await database.admin.query("ALTER SYSTEM SET authentication_timeout = '10min'");
  await database.admin.query('SELECT pg_reload_conf()');
  for (const command of ['plan', 'verify', 'rehearse'])
    expect(await projectCommand(command, [], names)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('it wants'),
    });
});

test('a file of settings that is not there', async () => {
  expect(await complaint({ DOTENV_CONFIG_PATH: 'nowhere' })).toMatch(
    /\nDOTENV_CONFIG_PATH is nowhere, and no file is there\.\n$/,
  );
});

test('an unknown database', async () => {
  const DATABASE_URL = urlWith(database.url, { pathname: 'nowhere' });
  expect(await complaint({ DATABASE_URL })).toMatch(
    /database "nowhere" does not exist.\nCheck dbname in DATABASE_URL/,
  );
});

test('a malformed URL', async () => {
  expect(await complaint({ DATABASE_URL: 'postgres://u:secret/word@h/d' })).toMatch(
    /^DATABASE_URL is malformed/,
  );
});

test('a port that is none', async () => {
  expect(await complaint({ DB_HOST: 'localhost', DB_PORT: 'x', DB_NAME: 'd' })).toBe(
    'DB_PORT is "x". It is a number from 1 to 65535.\n',
  );
});

test('a certificate file that is not there', async () => {
  expect(await complaint({ DB_HOST: 'h', DB_SSLROOTCERT: '/nowhere.pem' })).toMatch(
    /^The file in DB_SSLROOTCERT cannot be read: ENOENT.*nowhere.pem/,
  );
});

test.each<[Environment, RegExp]>([
  [{ DATABASE_ULR: 'postgres://u:secret@h/d' }, /^DATABASE_ULR is set, and DATABASE_URL is not/],
  [{ PGPORT: '5433' }, /^PGPORT is set, and it is not clear which database is meant/],
  [{ PGSERVICE: 'prod' }, /^PGSERVICE cannot be honoured/],
  [
    { DATABASE_URL: 'postgres://u:secret@h/d?schema=app' },
    /^schema in DATABASE_URL cannot .* DB_SCHEMA does it/,
  ],
])('what looks like a configuration: %j', async (env, message) => {
  expect(await complaint(env)).toMatch(message);
});

test('no database in production', async () => {
  expect(await complaint({ NODE_ENV: 'production' })).toMatch(/^No database is configured: set DATABASE_URL/);
});

test('a schema that is not there', async () => {
  expect(await complaint({ DATABASE_URL: database.url, DB_SCHEMA: 'nowhere' })).toMatch(
    /^There is no schema "nowhere"/,
  );
});

test('a role that may connect and nothing else', async () => {
  const stranger = `${database.name}_stranger`;
  await database.admin.query(`CREATE ROLE ${stranger} LOGIN PASSWORD '${stranger}'`);
  await database.admin.query('REVOKE CREATE ON SCHEMA public FROM public');
  const DATABASE_URL = urlWith(database.url, { username: stranger, password: stranger });
  expect(await complaint({ DATABASE_URL })).toMatch(
    /^permission denied for schema public.\nConnect as the role that owns/,
  );
  await database.admin.query(`DROP ROLE ${stranger}`);
});

test('a role whose connections are used up', async () => {
  await database.admin.query(`ALTER ROLE ${database.owner} CONNECTION LIMIT 0`);
  expect(await complaint({ DATABASE_URL: database.url })).toMatch(
    /too many connections for role .*\nTry again later/,
  );
  await database.admin.query(`ALTER ROLE ${database.owner} CONNECTION LIMIT -1`);
});

test('no table, and a view in its place', async () => {
  const other = await freshDatabase();
  const once = (text: string) => expect.stringMatching(new RegExp(`^(?!.*${text}.*${text}).*${text}`, 's'));
  expect(await complaint({ DATABASE_URL: other.url })).toEqual(once('user_profiles'));
  await other.client.query('CREATE VIEW user_profiles AS SELECT 1 AS id');
  expect(await complaint({ DATABASE_URL: other.url })).toEqual(once('is not a table'));
  await other.close();
});

test('nothing has been changed by any of these', async () => {
  const { rows } = await database.client.query(
    `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1`,
  );
  expect(rows.map(({ relname }) => relname)).toEqual(['auth_user', 'user_profiles']);
});

test('a server that has no TLS', async () => {
  expect(await complaint({ DATABASE_URL: database.url, DB_SSLMODE: 'require' })).toMatch(
    /: it has no TLS.\nWhere that is safe: DB_SSLMODE=disable/,
  );
});

describe('a standby', () => {
  let empty: TestServer;
  let migrated: TestServer;

  beforeAll(async () => {
    [empty, migrated] = await Promise.all([
      startStandby(async (url) => {
        const client = await connect(url);
        await loadState(client, '0015');
        await client.end();
      }),
      startStandby(async (DATABASE_URL) => {
        await knexCommand(['seed:run'], { DATABASE_URL, SEED: '1' });
        await knexCommand(['migrate:latest'], { DATABASE_URL });
      }),
    ]);
  });

  afterAll(() => Promise.all([empty.remove(), migrated.remove()]));

  test.each(commands)('without the tables of Knex: %s', async (command) => {
    expect(await complaint({ DATABASE_URL: empty.url }, command)).toMatch(
      /This server takes no writes: it is a standby/,
    );
  });

  test.each(commands.slice(0, -1))('with them: %s', async (command) => {
    expect(await complaint({ DATABASE_URL: migrated.url }, command)).toMatch(
      /This server takes no writes: it is a standby/,
    );
  });

  test('and the list can be read', async () => {
    const { code, stdout } = await knexCommand(['migrate:list'], { DATABASE_URL: migrated.url });
    expect(code).toBe(0);
    expect(stdout).toContain('Found 1 Completed Migration file/files.\n0016_add_security_fields\n');
  });

  test('plan shows what is to be done, and that it cannot be done here', async () => {
    const { code, stdout, stderr } = await projectCommand('plan', [], { DATABASE_URL: empty.url });
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout).toMatch(/conflict: this server is a standby.*\n +Connect to the primary/);
    expect(stdout).toContain('RENAME COLUMN backup_codes TO mfa_backup_codes');
  });

  test.each([
    ['as the application left it', () => empty, 1],
    ['migrated', () => migrated, 0],
  ])('verify, %s', async (_name, server, expected) => {
    const { code, stderr } = await projectCommand('verify', [], { DATABASE_URL: server().url });
    expect({ code, stderr }).toEqual({ code: expected, stderr: '' });
  });

  test('the script', async () => {
    const client = await connect(empty.url);
    const script = readFileSync(join(project, 'sql/add_security_fields.sql'), 'utf8');
    await expect(client.query(script)).rejects.toMatchObject({
      message: expect.stringContaining('recovery'),
    });
    await client.end();
  });
});
