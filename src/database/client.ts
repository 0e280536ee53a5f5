import PostgresClient from 'knex/lib/dialects/postgres';
import { type Client, type DatabaseError, escapeIdentifier, type Pool } from 'pg';
import { type Connection, lost } from '../connection';
import { UserError } from '../user-error';
import type { ConnectionSettings } from './connection';
import { madeOnce, permissionAdvice, type Query, refuse } from './migrator';

/** Knex's PostgreSQL client, with errors that tell a user what to do. */
export class DatabaseClient extends PostgresClient {
  override async acquireRawConnection(): Promise<Client> {
    try {
      return await super.acquireRawConnection();
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw connectionError(error as DatabaseError, this.connectionSettings as ConnectionSettings);
    }
  }

  /** Knex asks this on its first connection. What else is to be known of the server costs no round trip here. */
  override async checkVersion(connection: Connection): Promise<string> {
    const [schema = null] = this.searchPath ?? [];
    // Qualified: whatever search_path the role has, nobody else's code runs.
    const sql = `SELECT pg_catalog.version(), pg_catalog.pg_backend_pid() AS pid, current_user AS role,
      (SELECT pg_catalog.has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace
       WHERE nspname OPERATOR(pg_catalog.=) $1) AS may_use`;
    const [{ version, pid, role, may_use }] = (await connection.query(sql, [schema])).rows;
    if (!schema || (may_use && pid === connection.processID)) return this._parseVersion(version);
    await connection.end();
    const [to, on] = [role, schema].map(escapeIdentifier);
    // Knex would make its table in the next schema of the search path.
    if (!may_use)
      throw new UserError(
        may_use === null
          ? `There is no schema "${schema}" in this database. Check DB_SCHEMA.`
          : `"${role}" may not use this schema. Check DB_SCHEMA, or:\nGRANT USAGE ON SCHEMA ${on} TO ${to};`,
      );
    // A pooler hides the server's process. In transaction mode it hands on what is set in a session, as this is.
    throw new UserError(
      'DB_SCHEMA is a setting of the session, and a pooler (pgbouncer, perhaps) stands before the server: in\n' +
        "transaction mode the setting would be lost, or become somebody else's. Connect to the server itself, or:\n" +
        `ALTER ROLE ${to} SET search_path = ${on}, public;`,
    );
  }

  /** Knex sets no search_path on a connection of an external pool, and waits for one without a limit. */
  override wrapNativePool(pool: Pool) {
    // Knex sets the client's own searchPath later.
    if (this.config.searchPath)
      throw new UserError(
        'DB_SCHEMA (searchPath) does not reach a connectionPool. Set search_path in its `options`.',
      );
    const { acquireConnectionTimeout: most = 60_000 } = this.config;
    pool.options.connectionTimeoutMillis = Math.min(pool.options.connectionTimeoutMillis || most, most);
    return super.wrapNativePool(pool);
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
      const [, advice] = refusals.find(([pattern]) => pattern.test(`${code} ${reason}`)) ?? [];
      if (code !== '42501' && !advice) throw error;
      throw new UserError(
        `${reason}.\n${advice ?? (await permissionAdvice(connection, query, this.config))}`,
      );
    }
  }
}

/** What code and message look like where a statement of Knex's migrator fails, and what to do. */
const refusals: readonly (readonly [pattern: RegExp, advice: string])[] = [
  [
    /^25006/,
    'This server takes no writes: it is a standby, or default_transaction_read_only is on. Nothing was changed.\n' +
      'Migrate on the primary; the standbys follow it. `npm run plan` and `npm run verify` work here too.',
  ],
  [
    /^3F000/,
    'No schema of the search path exists, or this role may use none of them: name one in DB_SCHEMA.',
  ],
  [/^42703 .*"(name|batch|is_locked)"/, 'It is not a table of Knex: name another one in MIGRATIONS_TABLE.'],
  lost,
];

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
  const where = `database "${database}" at ${host}:${port} as "${user}"`;
  return new UserError(`Cannot connect to ${where}: ${why}.\n${next}`.trimEnd());
}

/** What code and message look like; what they mean, where PostgreSQL's own words do not say it; what to do. */
const causes: readonly (readonly [pattern: RegExp, reason: string, advice: string])[] = [
  [/ECONNREFUSED|connect ENOENT/, 'nothing listens there', 'Is the server running? Check {host} and {port}.'],
  [/ENOTFOUND|EAI_AGAIN/, 'the host name is not known', 'Check {host}.'],
  [/timeout|ETIMEDOUT|UNREACH/, 'no answer', 'Check {host} and {port}. Is there a firewall between?'],
  [
    /ECONNRESET|unexpectedly/,
    'the connection was cut',
    'Is it PostgreSQL that listens there? ("direct" in {sslnegotiation} needs PostgreSQL 17, and TLS.)',
  ],
  [/must be a string/, 'it wants a password', 'Give {password}, or a line in ~/.pgpass.'],
  [/28P01/, '', 'Check {password}, or the line in ~/.pgpass.'],
  [/SSL connections/, 'it has no TLS', 'Where that is safe: {sslmode=disable}.'],
  [/no encryption|SSL off/, '', 'If it wants TLS: {sslmode=require}.'],
  [/sslnegotiation/, '', 'TLS is {sslmode=require}, or a stricter mode.'],
  [/client certificate/, '', 'Name the files of yours and of its key: {sslcert} and {sslkey}.'],
  [
    /ALTNAME/,
    '',
    'Connect by a name that is in the certificate: {host}.\n' +
      'Or {sslmode=verify-ca}: with the root certificate ({sslrootcert=FILE}) it checks all but the name.',
  ],
  [/CERT_(HAS_EXPIRED|NOT_YET)/, '', 'The server needs a new one, or the clock of this machine is wrong.'],
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
