import PostgresClient from 'knex/lib/dialects/postgres';
import type { Client } from 'pg';
import { UserError } from '../user-error';

interface PostgresError extends Error {
  readonly code?: string;
}

/** Knex's PostgreSQL client, whose errors tell a user what to do. */
export class DatabaseClient extends PostgresClient {
  private takesWrites = true;

  override async acquireRawConnection(): Promise<Client> {
    try {
      return await super.acquireRawConnection();
    } catch (error) {
      throw error instanceof UserError ? error : this.connectionError(error as PostgresError);
    }
  }

  /** Asked once, on the first connection: what else is to be known about the server costs no round trip. */
  override async checkVersion(connection: Client): Promise<string> {
    const { rows } = await connection.query(
      `SELECT version(), current_setting('transaction_read_only') = 'off' AS takes_writes`,
    );
    this.takesWrites = rows[0].takes_writes;
    return this._parseVersion(rows[0].version);
  }

  /**
   * Knex's migrator opens a transaction to take its lock. Thrown here and at once, an error reaches the user; as a
   * rejection it would arrive as "MigrationLocked", with the advice to run migrate:unlock.
   */
  override transaction(...args: Parameters<PostgresClient['transaction']>) {
    if (!this.takesWrites && !args[1]?.readOnly) throw readOnly();
    return super.transaction(...args);
  }

  override async query(connection: unknown, sql: unknown) {
    try {
      return await super.query(connection, sql);
    } catch (error) {
      // Its message would begin with the SQL: the migrator wanted to create its table.
      throw (error as PostgresError).code === '25006' ? readOnly() : error;
    }
  }

  private connectionError({ code = '', message }: PostgresError): UserError {
    const { Client } = this.driver;
    const { host, port, database, user } = new Client(this.connectionSettings);
    const [, reason, advice] = causes.find(([pattern]) => pattern.test(`${code} ${message}`)) ?? [];
    return new UserError(
      `Cannot connect to database "${database}" at ${host}:${port} as "${user}": ${reason || message}.${advice ? `\n${advice}` : ''}`,
    );
  }
}

function readOnly() {
  return new UserError(
    'This server takes no writes: it is a standby, or default_transaction_read_only is on. Nothing was changed.\n' +
      'Migrate on the primary, which its standbys follow; `npm run plan` and `npm run verify` work here.',
  );
}

/** What a failed connection's code and message look like, what that means, what to do. */
const causes: readonly (readonly [pattern: RegExp, reason: string, advice: string])[] = [
  [/ECONNREFUSED|ENOENT/, 'nothing listens there', 'Is the server running, and are host and port right?'],
  [
    /ENOTFOUND|EAI_AGAIN/,
    'the host name is not known',
    'Is DB_HOST, or the host in DATABASE_URL, spelled right?',
  ],
  [
    /timeout expired|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/,
    'no answer',
    'Is the host right, and does a firewall let this machine in? PGCONNECT_TIMEOUT sets the seconds to wait.',
  ],
  [
    /28P01/,
    '',
    'Check user and password; in DATABASE_URL special characters of the password must be percent-encoded.',
  ],
  [
    /password must be a string/,
    'the server wants a password, and none is configured',
    'Set DB_PASSWORD, or put it into DATABASE_URL.',
  ],
  [
    /does not support SSL/,
    'the server has no TLS, which sslmode asks for',
    'Set sslmode (DB_SSLMODE) to disable if the network is safe.',
  ],
  [
    /no encryption|SSL off/,
    '',
    'The server may want TLS: set DB_SSLMODE=require, or sslmode=require in DATABASE_URL.',
  ],
  [
    /certificate|SELF_SIGNED|UNABLE_TO|ERR_TLS/i,
    '',
    "The server's certificate is not trusted: name its root certificate in DB_SSLROOTCERT, or use sslmode=require.",
  ],
  [/28000/, '', 'Does the role exist, and does pg_hba.conf let it in from this machine?'],
  [/3D000/, '', 'Check DB_NAME, or the path of DATABASE_URL.'],
  [
    /53300/,
    '',
    'Try again when some connections have ended, or raise max_connections (or the limit of the role).',
  ],
  [/57P03/, '', 'Try again in a moment.'],
  [
    /terminated unexpectedly|ECONNRESET/,
    'the connection was closed',
    'Is it PostgreSQL that listens on this port?',
  ],
];
