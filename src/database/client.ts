import type { Knex } from 'knex';
import PostgresClient from 'knex/lib/dialects/postgres';
import { type Client, escapeIdentifier, escapeLiteral, type Pool } from 'pg';
import { type Connection, owner, type Query, recordTable } from '../connection';
import { UserError } from '../user-error';
import type { ConnectionSettings } from './connection';

/** Knex's PostgreSQL client, with errors that tell a user what to do. */
export class DatabaseClient extends PostgresClient {
  override async acquireRawConnection(): Promise<Client> {
    try {
      return await super.acquireRawConnection();
    } catch (error) {
      throw failures().connectionError(error as Error, this.connectionSettings as ConnectionSettings);
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

  override async query(connection: Client, asked: Query | string) {
    const query = typeof asked === 'string' ? { sql: asked } : asked;
    try {
      const answer = await super.query(connection, madeOnce(query, this.config));
      await refuse(connection, answer, this.config);
      return answer;
    } catch (error) {
      throw await failures().queryError(error as Error, connection, query, this.config);
    }
  }
}

/** An advisory lock of ours, for the moment in which Knex's tables are made. */
const makingTables = 7_017;

/**
 * Knex looks whether its tables are there, and makes them: of several that do so at once all but one fail, and some
 * leave two rows in knex_migrations_lock, a lock that nobody can take. So each is made with its row, by one at a time;
 * and for the application's owner, so that every member of that role can go on with it.
 */
function madeOnce(query: Query, config: Knex.Config): Query {
  const { tableName } = recordTable(config);
  const [create, table = ''] = /^create table (.*?) \(/.exec(query.sql) ?? [];
  const isLock = table.endsWith(`"${tableName}_lock"`);
  if (!create || !(isLock || table.endsWith(`"${tableName}"`))) return query;
  const row = `INSERT INTO ${table} (is_locked) SELECT 0 WHERE NOT EXISTS (SELECT FROM ${table});`;
  return {
    ...query,
    sql: `SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.pg_advisory_xact_lock(${makingTables});
      CREATE TABLE IF NOT EXISTS ${query.sql.slice('create table '.length)}; ${isLock ? row : ''}
      DO $do$ BEGIN
        EXECUTE (SELECT pg_catalog.format('ALTER TABLE %s OWNER TO %I', oid::pg_catalog.regclass,
                                          pg_catalog.pg_get_userbyid(${owner('made.relnamespace')}))
                 FROM pg_catalog.pg_class made
                 WHERE oid OPERATOR(pg_catalog.=) ${escapeLiteral(table)}::pg_catalog.regclass);
      -- No such role, or it may not be given away.
      EXCEPTION WHEN null_value_not_allowed OR insufficient_privilege THEN NULL; END $do$`,
  };
}

/**
 * Knex's own refusals, before Knex makes them: that its lock is taken, and that its record has what is not there.
 *
 * @throws UserError
 */
async function refuse(connection: Client, { sql, response }: Query, config: Knex.Config) {
  const { tableName } = recordTable(config);
  const [, table = ''] = /^(?:update|select "name" from) (\S*")/.exec(sql) ?? [];
  if (table.endsWith(`"${tableName}_lock"`) && / where /.test(sql) && response?.rowCount !== 1)
    throw new UserError(await failures().lockedAdvice(connection, table));
  const { migrationSource, disableMigrationsListValidation } = config.migrations ?? {};
  if (!table.endsWith(`"${tableName}"`) || !migrationSource || disableMigrationsListValidation) return;
  const migrations = await migrationSource.getMigrations([]);
  const known = migrations.map((migration) => migrationSource.getMigrationName(migration));
  const unknown = response?.rows.map(({ name }) => name).filter((name) => !known.includes(name)) ?? [];
  if (unknown.length > 0) throw new UserError(failures().unknownAdvice(table, unknown, known));
}

/** What to do about it. Late: where nothing fails it would only take time. */
const failures = () => require('./failures') as typeof import('./failures');
