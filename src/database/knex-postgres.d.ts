// Knex documents its dialects as classes to extend, and does not declare them.
declare module 'knex/lib/dialects/postgres' {
  import type { Knex } from 'knex';
  import type { Client, Pool } from 'pg';

  class PostgresClient extends Knex.Client {
    override acquireRawConnection(): Promise<Client>;
    override query(connection: Client, query: { sql: string }): Promise<{ sql: string }>;
    wrapNativePool(pool: Pool): unknown;
    searchPath?: readonly string[];
    checkVersion(connection: Client): Promise<string>;
    _parseVersion(version: string): string;
  }
  export = PostgresClient;
}
