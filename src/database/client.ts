import PostgresClient from 'knex/lib/dialects/postgres';
import { type Client, escapeIdentifier, type Pool } from 'pg';
import type { Connection } from '../connection';
import { UserError } from '../user-error';
import type { ConnectionSettings } from './connection';
import { failures, madeOnce, type Query, refuse } from './migrator';

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

  override async query(connection: Client, query: Query | string) {
    try {
      if (typeof query === 'string') return await super.query(connection, query);
      const answer = await super.query(connection, madeOnce(query, this.config));
      await refuse(connection, answer, this.config);
      return answer;
    } catch (error) {
      throw await failures().queryError(error as Error, connection, query, this.config);
    }
  }
}
