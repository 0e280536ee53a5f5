import type { Knex } from 'knex';
import { type Client, type DatabaseError, escapeIdentifier, escapeLiteral } from 'pg';
import { lost, owner, type Query, recordTable } from '../connection';
import { UserError } from '../user-error';
import type { ConnectionSettings } from './connection';

/** Why there is no connection, and what to do. */
export function connectionError(error: Error, settings: ConnectionSettings): UserError {
  if (error instanceof UserError) return error;
  const { code = '', message } = error as DatabaseError;
  const { database, host, port, user, called } = settings;
  const [, advice = '', reason = message.replace(/\.+$/, '')] =
    causes.find(([pattern]) => pattern.test(`${code} ${message}`)) ?? [];
  const next = advice
    // {sslmode=require} is DB_SSLMODE=require, or sslmode=require in DATABASE_URL.
    .replace(/\{(\w+)(=\S+)?\}/g, (_, parameter, value = '') =>
      called(parameter).replace(/^\w+/, `$&${value}`),
    )
    .replace(/ in DATABASE_URL(?= and .* in DATABASE_URL)/, '');
  const where = `database "${database}" at ${host}:${port} as "${user}"`;
  return new UserError(`Cannot connect to ${where}: ${reason}.\n${next}`.trimEnd());
}

/** What code and message look like; what to do; what they mean, where PostgreSQL's own words do not say it. */
const causes: readonly (readonly [pattern: RegExp, advice: string, reason?: string])[] = [
  [/ECONNREFUSED|connect ENOENT/, 'Is the server running? Check {host} and {port}.', 'nothing listens there'],
  [/ENOTFOUND|EAI_AGAIN/, 'Check {host}.', 'the host name is not known'],
  [/timeout|ETIMEDOUT|UNREACH/, 'Check {host} and {port}. Is there a firewall between?', 'no answer'],
  [
    /ECONNRESET|unexpectedly/,
    'Is it PostgreSQL that listens there? ("direct" in {sslnegotiation} needs PostgreSQL 17, and TLS.)',
    'the connection was cut',
  ],
  [/must be a string/, 'Give {password}, or a line in ~/.pgpass.', 'it wants a password'],
  [/28P01/, 'Check {password}, or the line in ~/.pgpass.'],
  [/SSL connections/, 'Where that is safe: {sslmode=disable}.', 'it has no TLS'],
  [/no encryption|SSL off/, 'If it wants TLS: {sslmode=require}.'],
  [/sslnegotiation/, 'TLS is {sslmode=require}, or a stricter mode.'],
  [/client certificate/, 'Name the files of yours and of its key: {sslcert} and {sslkey}.'],
  [
    /ALTNAME/,
    'Connect by a name that is in the certificate: {host}.\n' +
      'Or {sslmode=verify-ca}: with the root certificate ({sslrootcert=FILE}) it checks all but the name.',
  ],
  [/CERT_(HAS_EXPIRED|NOT_YET)/, 'The server needs a new one, or the clock of this machine is wrong.'],
  [
    /certificate/i,
    'Name the root certificate that it comes from: {sslrootcert=FILE}. Without one, {sslmode=require} skips the check.',
  ],
  [/28000/, 'Does the role exist, and does pg_hba.conf let it in from this machine?'],
  [/3D000/, 'Check {dbname}.'],
  [/53300/, 'Try again later, or raise the limit: max_connections, or that of the role or database.'],
  [/57P0[123]/, 'Try again in a moment.'],
];

/** Why a statement of Knex's migrator has failed, and what to do; any other error as it is. */
export async function queryError(error: Error, client: Client, query: Query, config: Knex.Config) {
  if (error instanceof UserError) return error;
  const { code = '', message } = error as DatabaseError;
  // Knex puts the statement, and a dash, in front of the server's message.
  const reason = message.replace(/^.* - /s, '');
  const known = refusals.find(([pattern]) => pattern.test(`${code} ${reason}`))?.[1];
  const advice = code === '42501' ? await permissionAdvice(client, query, config) : known;
  return advice ? new UserError(`${reason}.\n${advice}`) : error;
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

/** What helps where Knex's lock is taken. */
export async function lockedAdvice(connection: Client, table: string): Promise<string> {
  const { rows } = await connection.query(`
    SELECT (SELECT pg_catalog.count(*)::int FROM ${table}) AS locks,
           pg_catalog.string_agg(pg_catalog.format('pid %s of %s (%s)', pid, usename, COALESCE(state, 'at work')), ', ') AS others
    FROM pg_catalog.pg_stat_activity
    WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
      AND application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name')
      AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()`);
  const [{ locks, others }] = rows;
  if (locks > 1)
    return `${table} has ${locks} rows, which nobody can lock. npx knex migrate:unlock leaves one.`;
  const now = others ? `Connected now: ${others}` : 'Nobody of this project is connected now';
  return (
    "Knex's lock is set: a migration is at work, or a migrate:down or migrate:rollback was killed.\n" +
    `${now}. Where no migration is at work: npx knex migrate:unlock, and the same command again.`
  );
}

/** What helps where Knex's record names migrations that are not there. */
export function unknownAdvice(table: string, unknown: readonly string[], known: readonly string[]): string {
  const named = unknown.join(', ');
  if (unknown.every((name) => known.includes(name.replace(/\.[cm]?[jt]s$/, ''))))
    return (
      `${table} has the names of files: ${named}. Here a migration's name has no extension:\n` +
      `UPDATE ${table} SET name = regexp_replace(name, '\\.[cm]?[jt]s$', '') WHERE name IN (${unknown.map(escapeLiteral).join(', ')});`
    );
  return (
    `${table} records migrations that are not in migrations/: ${named}. Where they are another project's, this one\n` +
    "needs a table of its own: MIGRATIONS_TABLE=knex_migrations_0016. Where they are this one's, put the files back."
  );
}

/** What helps a role that the server has refused a statement of Knex's migrator (42501). */
async function permissionAdvice(connection: Client, query: Query, config: Knex.Config) {
  const { schemaName = null, tableName } = recordTable(config);
  const tables = [tableName, `${tableName}_lock`];
  // Within a transaction that has failed nothing can be asked; but Knex's own is at its end.
  if (query.sql.includes(`"${tableName}`)) await connection.query('ROLLBACK');
  const { rows } = await connection
    .query(
      `SELECT nspname AS schema, pg_catalog.pg_get_userbyid(nspowner) AS schema_owner,
              pg_catalog.has_schema_privilege(oid, 'CREATE') AS may_create,
              pg_catalog.pg_get_userbyid(${owner('n.oid')}) AS role,
              (SELECT pg_catalog.min(pg_catalog.pg_get_userbyid(relowner)::text) FROM pg_catalog.pg_class
               WHERE relnamespace OPERATOR(pg_catalog.=) n.oid AND relname OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.name[])
                 AND NOT pg_catalog.pg_has_role(relowner, 'USAGE')) AS stranger
       FROM pg_catalog.pg_namespace n
       WHERE nspname OPERATOR(pg_catalog.=) COALESCE($1, pg_catalog.current_schema())`,
      [schemaName, tables],
    )
    .catch(() => ({ rows: [] }));
  const [{ schema, schema_owner, may_create, role, stranger } = {} as Record<string, string>] = rows;
  const on = escapeIdentifier(schema ?? '');
  const to = escapeIdentifier(role ?? '');
  if (role && stranger)
    return [
      `Knex's tables belong to "${stranger}". As that role, if it is a member of "${role}", or as a superuser:`,
      ...tables.map((table) => `ALTER TABLE ${on}.${escapeIdentifier(table)} OWNER TO ${to};`),
    ].join('\n');
  if (role && !may_create)
    return `As "${schema_owner}", who owns the schema, or as a superuser:\nGRANT CREATE ON SCHEMA ${on} TO ${to};`;
  return (
    "Connect as the role that owns the application's tables: the migration alters one of them, and Knex keeps its\n" +
    'record in a table beside it.'
  );
}
