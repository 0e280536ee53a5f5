import type { Knex } from 'knex';
import type { Connection, KnexClient } from './connection';
import { policy } from './program/policy';

/** Where tries are made. Each leaves the whole change behind, a part of the work, or nothing. */
export interface Session {
  readonly connection: Connection;
  /** Whether each try commits by itself, and so may leave a part of the work behind. */
  readonly commits: boolean;
  readonly tryOnce: (statement: string) => Promise<Tried>;
}

export interface Tried {
  /** What has been done, a line each. */
  readonly said: string;
  /** Whether there is more to do: only where a try commits. */
  readonly again: boolean;
}

/**
 * A client of the same make and configuration (search path, TLS, afterCreate), with one connection of its own. Knex asks
 * it for the version, which a pooler that has no second connection to the server does not answer.
 */
export function ownClient(knex: Knex): KnexClient {
  const { config, constructor: Client }: KnexClient = knex.client;
  const limit = policy.secondConnection;
  return new Client({
    ...config,
    acquireConnectionTimeout: limit,
    pool: { ...config.pool, min: 0, max: 1, acquireTimeoutMillis: limit, createTimeoutMillis: limit },
  });
}

/**
 * A connection of its own, so that the lock ends with the try. In Knex's transaction where that one holds the
 * table already, or where no second connection is to be had.
 */
export async function chosen(
  knex: Knex,
  batch: Connection,
  opening: Promise<Connection | Error>,
  holds: boolean,
  report: (line: string) => void,
): Promise<Session> {
  const opened = await opening;
  if (knex.isTransaction && holds) {
    report('An earlier migration of this batch holds the table: the change is made in its transaction.');
  } else if (opened instanceof Error) {
    report(`The change is made on Knex's own connection, as there is no second one: ${opened.message}`);
  } else {
    return alone(opened);
  }
  return knex.isTransaction ? withSavepoints(batch) : alone(batch);
}

function alone(connection: Connection): Session {
  // In one message it is one transaction, which the server ends by itself whatever becomes of us. Under a
  // stricter default isolation level the program would see the catalog as it was before the lock.
  return {
    connection,
    commits: true,
    tryOnce: (statement) => tried(connection, `SET TRANSACTION ISOLATION LEVEL READ COMMITTED; ${statement}`),
  };
}

async function tried(connection: Connection, statements: string): Promise<Tried> {
  // A result a statement, which the types of pg do not know.
  const results: unknown = await connection.query(
    `${statements};
     SELECT pg_catalog.current_setting('table_change.said') AS said,
            pg_catalog.current_setting('table_change.again')::pg_catalog.bool AS again`,
  );
  return (results as { rows: [Tried] }[]).at(-1)?.rows[0] ?? { said: '', again: false };
}

function withSavepoints(connection: Connection): Session {
  return {
    connection,
    commits: false,
    tryOnce: async (statement) => {
      try {
        return await tried(connection, `SAVEPOINT try; ${statement}; RELEASE SAVEPOINT try`);
      } catch (error) {
        await connection.query('ROLLBACK TO SAVEPOINT try; RELEASE SAVEPOINT try');
        throw error;
      }
    },
  };
}

/**
 * Ends both connections where the network swallows what is sent: that is no error of its own, and we would wait for
 * ever. While the one works the other is asked for an answer.
 */
export function watch(connection: Connection, batch: Connection): () => void {
  if (connection === batch) return () => undefined;
  let silence: NodeJS.Timeout | undefined;
  const pulse = setInterval(async () => {
    if (silence) return;
    silence = setTimeout(() => void Promise.allSettled([connection.end(), batch.end()]), policy.silence);
    await batch.query('SELECT 1').catch(() => undefined);
    clearTimeout(silence);
    silence = undefined;
  }, policy.pulse);
  return () => {
    clearInterval(pulse);
    clearTimeout(silence);
  };
}
