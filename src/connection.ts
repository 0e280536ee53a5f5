import type { Knex } from 'knex';
import type { Client, DatabaseError } from 'pg';
import { UserError } from './user-error';

export type Connection = Client & { readonly processID: number; readonly secretKey: number };

/** What we use of Knex's client, which its types leave open (knex/lib/client.js). */
export interface KnexClient {
  readonly config: Knex.Config;
  readonly constructor: new (config: Knex.Config) => KnexClient;
  acquireConnection(): Promise<Connection>;
  releaseConnection(connection: Connection): Promise<void>;
  destroy(): Promise<void>;
}

/** Where Knex keeps its record, as configured; its lock is in the table of that name with _lock behind it. */
export function recordTable({ migrations }: Knex.Config) {
  return { schemaName: migrations?.schemaName, tableName: migrations?.tableName ?? 'knex_migrations' };
}

/** A statement as Knex hands it to its client, and as it comes back. */
export interface Query {
  readonly sql: string;
  readonly response?: { readonly rowCount: number; readonly rows: readonly { readonly name: string }[] };
}

/** The role that has most tables of a schema, and whose rights this one has: the application's owner. */
export const owner = (schema: string) =>
  `(SELECT relowner FROM pg_catalog.pg_class
    WHERE relnamespace OPERATOR(pg_catalog.=) ${schema} AND relkind OPERATOR(pg_catalog.=) ANY ('{r,p}')
      AND pg_catalog.pg_has_role(relowner, 'USAGE')
    GROUP BY relowner ORDER BY pg_catalog.count(*) DESC LIMIT 1)`;

/** Runs `work` on the driver's connection under this Knex: its transaction's, or one of its pool. */
export async function withConnection<T>(knex: Knex, work: (connection: Connection) => Promise<T>) {
  const client: KnexClient = knex.client;
  const connection = await client.acquireConnection();
  try {
    return await work(connection);
  } finally {
    await client.releaseConnection(connection);
  }
}

/** Works, and takes it back. In the caller's transaction a BEGIN would be ignored, and our ROLLBACK end theirs. */
export async function undone<R>(knex: Knex, work: (connection: Connection) => Promise<R>): Promise<R> {
  const [begin, end] = knex.isTransaction
    ? ['SAVEPOINT look', 'ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look']
    : ['BEGIN ISOLATION LEVEL READ COMMITTED', 'ROLLBACK'];
  return withConnection(knex, async (connection) => {
    await connection.query(begin);
    return work(connection).finally(() => connection.query(end).catch(() => undefined));
  }).catch((error) => {
    throw explained(error);
  });
}

/**
 * An error of the server or the network for a reader: its message, detail and hint, and what else can be done about it.
 * A defect of ours stays as it is, with its stack.
 */
export function explained(error: unknown): Error {
  if (error instanceof UserError) return error;
  const { message, detail, hint, code = '' } = error as DatabaseError;
  const cause = causes.find(([pattern]) => pattern.test(`${code} ${message}`));
  if (!code && !cause) return error as Error;
  return new UserError([message, detail, hint, cause?.[1]].filter(Boolean).join('\n'));
}

/** What a lost connection looks like, and what it means for the user. */
export const lost = [
  /^(57P0|08(?!P01)|25P0[34])|ECONNRESET|EPIPE|terminated|not queryable/,
  'The connection was lost, but no value: the change is made, begun, or not begun. Run the same command again.\n' +
    'If Knex says that its migrations are locked: npx knex migrate:unlock before.',
] as const;

/** By the code (PostgreSQL manual, "PostgreSQL Error Codes") or the driver's message. */
const causes: readonly (readonly [pattern: RegExp, advice: string])[] = [
  [
    /^57014 canceling statement due to user request/,
    'Somebody has cancelled it, as pg_repack does to whoever waits for its table: run the same command again.',
  ],
  [
    /^57014/,
    'If it was statement_timeout: it is set for this role or database, and cannot be lifted from\n' +
      "inside a statement. Run this again with PGOPTIONS='-c statement_timeout=0'; behind pgbouncer,\n" +
      'ALTER ROLE ... SET statement_timeout = 0; then set it back.',
  ],
  [
    /^25P04/,
    'It was transaction_timeout, set for this role or database.\n' +
      "Run this again with PGOPTIONS='-c transaction_timeout=0'; behind pgbouncer,\n" +
      'ALTER ROLE ... SET transaction_timeout = 0; then set it back.',
  ],
  lost,
  [/^53200/, 'Raise max_locks_per_transaction, or detach partitions, and run this again.'],
];
