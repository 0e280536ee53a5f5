import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import type { Connection } from '../../src/connection';

/** The major version of this test run's server: older ones lack what some tests need. */
export const serverVersion = Number(process.env['TEST_SERVER_VERSION']);

export interface TestDatabase {
  readonly name: string;
  /** An ordinary role, which owns the database, may create in its schema public, and is no superuser. */
  readonly owner: string;
  /** As the owner. */
  readonly url: string;
  /** As the superuser. */
  readonly adminUrl: string;
  readonly client: Client;
  readonly admin: Client;
  /** Ends both clients, and everybody else's connection; drops database and role. */
  readonly close: () => Promise<void>;
}

/** An empty database with an owner of its own, on the server of this test run or on another one. */
export async function freshDatabase(server = process.env['TEST_SERVER_URL'] ?? ''): Promise<TestDatabase> {
  const name = `test_${randomBytes(4).toString('hex')}`;
  await create(server, name);
  return open(server, name);
}

async function create(server: string, name: string): Promise<void> {
  await asSuperuser(
    server,
    `CREATE ROLE ${name}_owner LOGIN PASSWORD '${name}_owner'`,
    `CREATE DATABASE ${name} OWNER ${name}_owner`,
  );
}

async function open(server: string, name: string): Promise<TestDatabase> {
  const owner = `${name}_owner`;
  const adminUrl = urlWith(server, { pathname: name });
  const url = urlWith(adminUrl, { username: owner, password: owner });
  const client = await connect(url);
  const admin = await connect(adminUrl);
  return {
    name,
    owner,
    url,
    adminUrl,
    client,
    admin,
    close: async () => {
      await Promise.all([client.end(), admin.end()]);
      await asSuperuser(
        server,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
        `DROP DATABASE ${name}`,
        `DROP ROLE ${owner}`,
      );
    },
  };
}

const ofProcess = 'test_process_';

/** Where a server outlives those who test on it, as for mutants. */
async function dropThoseOfTheDead(server: string): Promise<void> {
  const admin = await connect(server);
  const { rows } = await admin.query(
    `SELECT datname AS name FROM pg_database WHERE datname LIKE '${ofProcess}%'`,
  );
  for (const { name } of rows) {
    try {
      process.kill(Number(name.slice(ofProcess.length)), 0);
    } catch {
      await admin.query(`DROP DATABASE ${name}`).catch(() => undefined);
    }
  }
  await admin.end();
}

/**
 * The database of this process of Jest, empty and in this state at the beginning of every test. (To make a database
 * costs a quarter of a second of work, to empty one a few milliseconds.)
 */
export function databasePerTest(state?: State): () => TestDatabase {
  let database: TestDatabase;
  beforeAll(async () => {
    const server = process.env['TEST_SERVER_URL'] ?? '';
    const name = `${ofProcess}${process.pid}`;
    await create(server, name).then(
      () => dropThoseOfTheDead(server),
      (error) => {
        // 42710: made by the file before.
        if (error.code !== '42710') throw error;
      },
    );
    database = await open(server, name);
  });
  beforeEach(async () => {
    await empty(database);
    if (state) await loadState(database.client, state);
  });
  afterAll(async () => {
    // Settings of a role or a database count from the connections on that the next file opens.
    await empty(database);
    await Promise.all([database.client.end(), database.admin.end()]);
  });
  return () => database;
}

/** As it was when it was fresh: no object, no other connection, no setting. */
async function empty({ name, owner, client, admin }: TestDatabase): Promise<void> {
  await client.query('ROLLBACK');
  await client.query('DISCARD ALL');
  await admin.query(`
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = '${name}' AND pid NOT IN (pg_backend_pid(), ${(client as Connection).processID});
    DROP OWNED BY ${owner} CASCADE;
    DO $$ DECLARE item text; BEGIN
      FOR item IN
        SELECT format('SCHEMA %I', nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        UNION ALL SELECT format('PUBLICATION %I', pubname) FROM pg_publication
        UNION ALL SELECT format('FOREIGN DATA WRAPPER %I', fdwname) FROM pg_foreign_data_wrapper
      LOOP EXECUTE format('DROP %s CASCADE', item); END LOOP;
    END $$;
    CREATE SCHEMA public AUTHORIZATION ${owner};
    GRANT USAGE ON SCHEMA public TO PUBLIC;
    ALTER DATABASE ${name} RESET ALL;
    ALTER DATABASE ${name} ALLOW_CONNECTIONS true CONNECTION LIMIT -1;
    ALTER DATABASE ${name} OWNER TO ${owner};
    ALTER ROLE ${owner} RESET ALL;
    ALTER ROLE ${owner} IN DATABASE ${name} RESET ALL;
    ALTER ROLE ${owner} NOSUPERUSER NOBYPASSRLS CONNECTION LIMIT -1`);
}

/** A connected client; one whose connection is cut does not bring the test run down. */
export async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

export type State = '0015' | '0015-described' | 'both-names' | 'repaired-by-hand';

/** Puts test/states/<name>.sql into the database, and 0015 before those that build on it. */
export async function loadState(client: Client, name: State): Promise<void> {
  for (const file of name === '0015' ? [name] : ['0015', name]) {
    await client.query(readFileSync(join(__dirname, `../states/${file}.sql`), 'utf8'));
  }
}

/** The same URL with other parts. */
export function urlWith(
  url: string,
  parts: Partial<Record<'username' | 'password' | 'pathname' | 'port', string>>,
): string {
  return Object.assign(new URL(url), parts).toString();
}

async function asSuperuser(server: string, ...statements: string[]): Promise<void> {
  const client = await connect(server);
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
