import PostgresClient from 'knex/lib/dialects/postgres';
import { type Client, type DatabaseError, escapeIdentifier, type Pool } from 'pg';
import { lost } from '../connection';
import { UserError } from '../user-error';
import type { ConnectionSettings } from './connection';
import { madeOnce, permissionAdvice, type Query, refuse } from './migrator';

/** Knex's PostgreSQL client, with errors that tell a user what to do. */
export class DatabaseClient extends PostgresClient {
  override async acquireRawConnection(): Promise<Client> {
    try {
      return await super.acquireRawConnection();
    } catch (error) {
      throw error instanceof UserError
        ? error
        : connectionError(error as DatabaseError, this.connectionSettings as ConnectionSettings);
    }
  }

  /** Knex asks this on its first connection. What else is to be known of the server costs no round trip here. */
  override async checkVersion(connection: Client & { processID?: number }): Promise<string> {
    const [schema = null] = this.searchPath ?? [];
    const { rows } = await connection.query(
      // Qualified: whatever search_path the role has, nobody else's code runs.
      `SELECT pg_catalog.version(), pg_catalog.pg_backend_pid() AS pid,
              (SELECT pg_catalog.has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace
               WHERE nspname OPERATOR(pg_catalog.=) $1) AS may_use, current_user AS role`,
      [schema],
    );
    const [{ version, pid, may_use, role }] = rows;
    if (schema && (!may_use || pid !== connection.processID)) {
      await connection.end();
      // Knex would make its table in the next schema of the search path.
      if (may_use === null)
        throw new UserError(`There is no schema "${schema}" in this database. Check DB_SCHEMA.`);
      const [to, on] = [role, schema].map(escapeIdentifier);
      if (!may_use)
        throw new UserError(
          `"${role}" may not use this schema. Check DB_SCHEMA, or:\nGRANT USAGE ON SCHEMA ${on} TO ${to};`,
        );
      // A pooler hides the server's process. In transaction mode it hands on what is set in a session, as this is.
      throw new UserError(
        'DB_SCHEMA is a setting of the session, and a pooler (pgbouncer, perhaps) stands before the server: in\n' +
          "transaction mode the setting would be lost, or become somebody else's. Connect to the server itself, or:\n" +
          `ALTER ROLE ... IN DATABASE ... SET search_path = ${schema}, public;`,
      );
    }
    return this._parseVersion(version);
  }

  /** Knex waits for a connection of an external pool without a limit, and sets no search_path on it. */
  override wrapNativePool(pool: Pool) {
    // Knex sets the client's own searchPath later.
    if (this.config.searchPath)
      throw new UserError(
        'DB_SCHEMA (searchPath) does not reach a connectionPool. Set search_path in its `options`.',
      );
    const { acquireConnectionTimeout: most = 60_000 } = this.config;
    const { acquire, release, ...rest } = super.wrapNativePool(pool);
    const limited = () => {
      const acquired = acquire().promise;
      const promise = new Promise<Client>((resolve, reject) => {
        const timer = setTimeout(() => {
          reject(new Error(`connectionPool has had no connection to give for ${most / 1000} s`));
          acquired.then(release, () => undefined);
        }, most);
        acquired.then(resolve, reject).finally(() => clearTimeout(timer));
      });
      return { promise };
    };
    return { ...rest, release, acquire: limited };
  }

  override async query(connection: Client, query: Query | string) {
    try {
      if (typeof query === 'string') return await super.query(connection, query);
      const answer = await super.query(connection, madeOnce(query, this.config));
      await refuse(connection, answer, this.config);
      return answer;
    } catch (error) {
      if (error instanceof UserError) throw error;
      const { code = '', message } = error as DatabaseError;
      // Knex puts the statement, and a dash, in front of the server's message.
      const reason = message.replace(/^.* - /s, '');
      const [isLost, whenLost] = lost;
      const advice =
        code === '42501'
          ? await permissionAdvice(connection, this.config)
          : (refusals[code] ?? (isLost.test(`${code} ${reason}`) ? whenLost : undefined));
      throw advice ? new UserError(`${reason}.\n${advice}`) : error;
    }
  }
}

/** By the server's code: what it may refuse the statements of Knex's migrator for, and what to do. */
const refusals: Readonly<Record<string, string>> = {
  '25006':
    'This server takes no writes: it is a standby, or default_transaction_read_only is on. Nothing was changed.\n' +
    'Migrate on the primary; the standbys follow it. `npm run plan` and `npm run verify` work here too.',
  '3F000': 'No schema of the search path exists, or this role may use none of them: name one in DB_SCHEMA.',
};

function connectionError({ code = '', message }: DatabaseError, settings: ConnectionSettings): UserError {
  const { database, host, port, user, called } = settings;
  const [, reason, advice = ''] = causes.find(([pattern]) => pattern.test(`${code} ${message}`)) ?? [];
  const why = reason || message.replace(/\.+$/, '');
  const next = advice
    // {sslmode=require} is DB_SSLMODE=require, or sslmode=require in DATABASE_URL.
    .replace(/\{(\w+)(=\S+)?\}/g, (_, parameter, value = '') =>
      called(parameter).replace(/^\w+/, `$&${value}`),
    )
    .replace(/ in DATABASE_URL(?= and .* in DATABASE_URL)/, '');
  return new UserError(
    `Cannot connect to database "${database}" at ${host}:${port} as "${user}": ${why}.\n${next}`.trimEnd(),
  );
}

/** What code and message look like; what they mean, where PostgreSQL's own words do not say it; what to do. */
const causes: readonly (readonly [pattern: RegExp, reason: string, advice: string])[] = [
  [/ECONNREFUSED|connect ENOENT/, 'nothing listens there', 'Is the server running? Check {host} and {port}.'],
  [/ENOTFOUND|EAI_AGAIN/, 'the host name is not known', 'Check {host}.'],
  [
    /timeout|ETIMEDOUT|UNREACH/,
    'no answer',
    'Check {host} and {port}. Does a firewall let this machine through?',
  ],
  [
    /ECONNRESET|unexpectedly/,
    'the connection was cut',
    'Is it PostgreSQL that listens there? ("direct" in {sslnegotiation} needs PostgreSQL 17, and TLS.)',
  ],
  [/must be a string/, 'it wants a password', 'Give {password}, or a line in ~/.pgpass.'],
  [/28P01/, '', 'Check {password}, or the line in ~/.pgpass.'],
  [/SSL connections/, 'it has no TLS', 'Where that is safe: {sslmode=disable}.'],
  [/no encryption|SSL off/, '', 'If it wants TLS: {sslmode=require}.'],
  [/client certificate/, '', 'Name the files of yours and of its key: {sslcert} and {sslkey}.'],
  [
    /ALTNAME/,
    '',
    'Connect by a name that is in the certificate: {host}.\n' +
      'Or {sslmode=verify-ca}: with the root certificate ({sslrootcert=FILE}) it checks all but the name.',
  ],
  [
    /CERT_(HAS_EXPIRED|NOT_YET)/,
    '',
    'The server needs a new certificate, or the clock of this machine is wrong.',
  ],
  [
    /certificate/i,
    '',
    'Name the root certificate that it comes from: {sslrootcert=FILE}. Without one, {sslmode=require} skips the check.',
  ],
  [/28000/, '', 'Does the role exist, and does pg_hba.conf let it in from this machine?'],
  [/3D000/, '', 'Check {dbname}.'],
  [/53300/, '', 'Try again later, or raise the limit: max_connections, or that of the role or database.'],
  [/57P0[123]/, '', 'Try again in a moment.'],
];
