// Knex documents its dialects as classes to extend, and does not declare them.
declare module 'knex/lib/dialects/postgres' {
  import type { Knex } from 'knex';
  import type { Client } from 'pg';

  class PostgresClient extends Knex.Client {
    override acquireRawConnection(): Promise<Client>;
    override transaction(...args: Parameters<Knex.Client['transaction']>): Knex.Transaction;
    searchPath?: readonly string[];
    checkVersion(connection: Client): Promise<string>;
    _parseVersion(version: string): string;
  }
  export = PostgresClient;
}
