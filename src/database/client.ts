import PostgresClient from 'knex/lib/dialects/postgres';
import { Client, type DatabaseError } from 'pg';
import { lost, recordTable } from '../connection';
import { UserError } from '../user-error';

/** Pools of connections to servers that take no writes. Not a property: Knex's migrator works on a copy of the client. */
const readOnlyPools = new WeakSet<object>();

/** Knex's PostgreSQL client, with errors that tell a user what to do. */
export class DatabaseClient extends PostgresClient {
  override async acquireRawConnection(): Promise<Client> {
    try {
      return await super.acquireRawConnection();
    } catch (error) {
      throw error instanceof UserError
        ? error
        : connectionError(error as DatabaseError, this.connectionSettings);
    }
  }

  /** Knex asks this on its first connection. What else is to be known of the server costs no round trip here. */
  override async checkVersion(connection: Client & { processID?: number }): Promise<string> {
    const [schema = null] = this.searchPath ?? [];
    const { rows } = await connection.query(
      // Qualified: whatever search_path the role has, nobody else's code runs.
      `SELECT pg_catalog.version(), pg_catalog.pg_backend_pid() AS pid,
              pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on' AS read_only,
              $1::pg_catalog.name IS NULL
                OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) $1) AS has_schema`,
      [schema],
    );
    const [{ version, pid, read_only, has_schema }] = rows;
    // Knex would make its table in the next schema of the search path.
    if (!has_schema) {
      await connection.end();
      throw new UserError(`There is no schema "${schema}" in this database. Check DB_SCHEMA.`);
    }
    // A pooler hides the server's process. In transaction mode it hands on what is set in a session, as this is.
    if (schema && pid !== connection.processID) {
      await connection.end();
      throw new UserError(
        'DB_SCHEMA is a setting of the session, and a pooler (pgbouncer, perhaps) stands before the server: in\n' +
          "transaction mode the setting would be lost, or become somebody else's. Connect to the server itself, or:\n" +
          `ALTER ROLE ... IN DATABASE ... SET search_path = ${schema}, public;`,
      );
    }
    if (read_only && this.pool) readOnlyPools.add(this.pool);
    return this._parseVersion(version);
  }

  /**
   * Knex's migrator opens a transaction to take its lock. What is thrown here, at once, reaches the user; a rejection
   * would be told as "MigrationLocked", with the advice to run migrate:unlock.
   */
  override transaction(...args: Parameters<PostgresClient['transaction']>) {
    if (this.pool && readOnlyPools.has(this.pool) && !args[1]?.readOnly) throw new UserError(readOnly);
    return super.transaction(...args);
  }

  override async query(connection: unknown, query: { sql: string } | string) {
    try {
      return await super.query(connection, typeof query === 'string' ? query : this.madeOnce(query));
    } catch (error) {
      const { code = '', message } = error as DatabaseError;
      // Knex puts the statement, and a dash, in front of the server's message.
      const reason = message.replace(/^.* - /s, '');
      const [isLost, whenLost] = lost;
      const advice = refusals[code] ?? (isLost.test(`${code} ${reason}`) ? whenLost : undefined);
      throw advice ? new UserError(`${reason}.\n${advice}`) : error;
    }
  }

  /**
   * Knex looks whether its tables are there, and makes them: of several that do so at once all but one fail, and some
   * leave two rows in knex_migrations_lock, a lock that nobody can take. So each is made with its row, by one at a time.
   */
  private madeOnce(query: { sql: string }) {
    const { tableName } = recordTable(this.config);
    const [create, table] = /^create table (.*?) \(/.exec(query.sql) ?? [];
    const isLock = table?.endsWith(`"${tableName}_lock"`);
    if (!create || !(isLock || table?.endsWith(`"${tableName}"`))) return query;
    const row = `INSERT INTO ${table} (is_locked) SELECT 0 WHERE NOT EXISTS (SELECT FROM ${table})`;
    return {
      ...query,
      sql: `SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.pg_advisory_xact_lock(${makingTables});
        CREATE TABLE IF NOT EXISTS ${query.sql.slice('create table '.length)}; ${isLock ? row : ''}`,
    };
  }
}

const readOnly =
  'This server takes no writes: it is a standby, or default_transaction_read_only is on. Nothing was changed.\n' +
  'Migrate on the primary; the standbys follow it. `npm run plan` and `npm run verify` work here too.';

/** An advisory lock of ours, for the moment in which Knex's tables are made. */
const makingTables = 7_017;

/** By the server's code: what it may refuse the statements of Knex's migrator for, and what to do. */
const refusals: Readonly<Record<string, string>> = {
  '25006': readOnly,
  '3F000': 'No schema of the search path exists: name one in DB_SCHEMA.',
  '42501':
    "Connect as the role that owns the application's tables: the migration alters one of them, and Knex keeps its\n" +
    'record in a table beside it.',
};

function connectionError({ code = '', message }: DatabaseError, settings: object): UserError {
  const [, reason, advice] = causes.find(([pattern]) => pattern.test(`${code} ${message}`)) ?? ['', '', ''];
  let where = 'the database';
  try {
    const { database = '', host, port, user = '' } = new Client(settings);
    where = `database "${database}" at ${host}:${port} as "${user}"`;
  } catch {
    // What is wrong is in the settings, and in the message.
  }
  return new UserError(
    `Cannot connect to ${where}: ${reason || message.replace(/\.+$/, '')}.\n${advice}`.trimEnd(),
  );
}

/** What code and message look like; what they mean, where PostgreSQL's own words do not say it; what to do. */
const causes: readonly (readonly [pattern: RegExp, reason: string, advice: string])[] = [
  [/ECONNREFUSED|connect ENOENT/, 'nothing listens there', 'Is the server running, are host and port right?'],
  [/ENOTFOUND|EAI_AGAIN/, 'the host name is not known', 'Check DB_HOST, or the host in DATABASE_URL.'],
  [
    /timeout|ETIMEDOUT|UNREACH/,
    'no answer',
    'Check host and port. Does a firewall let this machine through?',
  ],
  [/ECONNRESET|unexpectedly/, 'the connection was cut', 'Is it PostgreSQL that listens on this port?'],
  [
    /must be a string/,
    'it wants a password',
    'Put it into DATABASE_URL; into DB_PASSWORD, beside DB_HOST or DB_NAME; into PGPASSWORD or ~/.pgpass.',
  ],
  [/28P01/, '', 'In DATABASE_URL the characters @ : / ? # and % of a password must be percent-encoded.'],
  [
    /SSL connections/,
    'it has no TLS',
    'Say disable, where that is safe, in DB_SSLMODE or as sslmode in DATABASE_URL.',
  ],
  [/no encryption|SSL off/, '', 'If it wants TLS: say require in DB_SSLMODE, or as sslmode in DATABASE_URL.'],
  [/verify-ca/, 'verify-ca needs a root certificate', 'Name its file in DB_SSLROOTCERT, or say verify-full.'],
  [
    /certificate|altnames/i,
    '',
    'Name the root certificate in DB_SSLROOTCERT; sslmode=require skips the check.',
  ],
  [/28000/, '', 'Does the role exist, and does pg_hba.conf let it in from this machine?'],
  [/3D000/, '', 'Check DB_NAME, or the path of DATABASE_URL.'],
  [/53300/, '', 'Try again later, or raise the limit: max_connections, or that of the role or database.'],
  [/57P0[123]/, '', 'Try again in a moment.'],
];
