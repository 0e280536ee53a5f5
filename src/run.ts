import { createConnection } from 'node:net';
import type { Knex } from 'knex';
import { type DatabaseError, escapeLiteral, type Pool } from 'pg';
import { type Connection, explained, type KnexClient, withConnection } from './connection';
import type { Change } from './declaration';
import { policy } from './program/policy';
import { type Direction, program, tableName } from './program/program';
import { UserError } from './user-error';

/**
 * What a run takes from outside, as configured: MIGRATION_QUIET=1 shows nothing, MIGRATION_LOCK_DEADLINE is in seconds,
 * MIGRATION_IGNORE_DEPENDENTS=1 goes on.
 *
 * @throws UserError where the deadline is no number
 */
export function surroundings(env: NodeJS.ProcessEnv = process.env) {
  const seconds = env['MIGRATION_LOCK_DEADLINE'] || policy.deadline / 1000;
  // Neither a negative number, nor infinity, nor one that is written with an e.
  if (!/^\d{1,9}(\.\d+)?$/.test(String(seconds)))
    throw new UserError(
      `MIGRATION_LOCK_DEADLINE is "${seconds}". It is a number of seconds, for example 600.`,
    );
  return {
    report: (env['MIGRATION_QUIET'] === '1' ? () => undefined : console.log) as (line: string) => void,
    deadline: Number(seconds) * 1000,
    ignoreDependents: env['MIGRATION_IGNORE_DEPENDENTS'] === '1',
    // A pooler may have handed on somebody's table_change.dry.
    dry: false,
  };
}

/** An advisory lock that marks a transaction in which we migrate: `plan` tells a stale Knex lock by it. */
export const advisoryKey = 7_016;

/**
 * Makes the change, or takes it back: sends the program, on a connection of its own where there is one, and shows
 * what it says.
 *
 * @param knex what Knex hands to a migration
 * @throws UserError: a refusal, a lost connection, an interruption, a table that was in use until the deadline
 */
export async function run(knex: Knex, change: Change, direction: Direction, around = surroundings()) {
  const heard = interruption();
  const own = ownClient(knex.client);
  // Opened while the first connection still looks; of an external pool that is used up it would be waited for in vain.
  const { config }: KnexClient = knex.client;
  const { totalCount = 0, idleCount = 0, options } = (config.connectionPool ?? {}) as Partial<Pool>;
  const isUsedUp = totalCount - idleCount + (knex.isTransaction ? 1 : 2) > (options?.max ?? Number.MAX_VALUE);
  const opening = isUsedUp
    ? new Error('the connectionPool is used up')
    : own.acquireConnection().catch((error: Error) => error);
  const statements = program(change, direction, around);
  try {
    await withConnection(knex, async (batch) => {
      const [found] = (await batch.query<{ holds: boolean; undo: string }>(beginBatch(change))).rows;
      const opened = await opening;
      let connection = batch;
      if (knex.isTransaction && found?.holds) {
        around.report('This batch of Knex holds the table already: the change is made in its transaction.');
      } else if (opened instanceof Error) {
        around.report(
          `The change is made on Knex's own connection, as there is no second one: ${opened.message}`,
        );
      } else {
        connection = opened;
      }
      await send(connection, batch, statements, around.report, notBegun, heard);
      // For the migrations that follow.
      await batch.query(found?.undo ?? '');
    });
  } catch (error) {
    throw explained(error);
  } finally {
    heard.stopListening();
    const opened = await opening;
    if (!(opened instanceof Error)) await own.releaseConnection(opened);
    // Knex has work to do while the server ends the connection.
    own.destroy().catch(() => undefined);
  }
}

/** The first signal to end from now on, and what it does then. A second one ends the process. */
function interruption() {
  const heard = {
    signal: undefined as NodeJS.Signals | undefined,
    act: (): void => undefined,
    stopListening: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
  const onSignal = (signal: NodeJS.Signals) => {
    heard.signal = signal;
    heard.stopListening();
    heard.act();
  };
  for (const signal of signals) process.on(signal, onSignal);
  return heard;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const notBegun =
  'The change is made, or not begun; NULLs that were filled stay filled. The same command again goes on from there.';

/**
 * Sends the program by the simple protocol, reports what it says, and ends it where it is interrupted.
 *
 * @param batch another connection, or the same where there is none
 * @param left what state things are in after an interruption
 * @throws UserError after an interruption, and what the server throws
 */
export async function send(
  connection: Connection,
  batch: Connection,
  statements: string,
  report: (line: string) => void,
  left: string,
  heard = interruption(),
): Promise<void> {
  const ended = (why: string) =>
    new UserError(`${heard.signal}: ended (${why}). Nothing is locked.\n${left}`);
  // INFO is what the program says, whatever client_min_messages is; the rest is the server's, or a trigger's.
  const onNotice = ({ severity, message }: Record<'severity' | 'message', string | undefined>) => {
    if (severity === 'INFO') report(`${message}`);
  };
  connection.on('notice', onNotice);
  let inCircle = false;
  let cancelling: NodeJS.Timeout | undefined;
  // The server passes over a request that comes between two statements, or at the moment of a time limit.
  const cancelUntilItEnds = () => {
    cancel(connection);
    cancelling ??= setInterval(() => cancel(connection), policy.cancelAgain);
  };
  const stopWatching = watch(connection, batch, () => {
    inCircle = true;
    cancelUntilItEnds();
  });
  try {
    if (heard.signal) throw ended('before it began');
    heard.act = cancelUntilItEnds;
    await connection.query(statements);
    if (heard.signal) report(`${heard.signal} came too late: the work is done.`);
  } catch (error) {
    if (inCircle)
      throw new UserError(
        'An index is built concurrently, and waits for the end of this transaction as we wait for it: run the same command again.',
      );
    throw heard.signal && !(error instanceof UserError) ? ended((error as DatabaseError).message) : error;
  } finally {
    clearInterval(cancelling);
    stopWatching();
    connection.off('notice', onNotice);
    heard.stopListening();
  }
}

/**
 * The protocol's own request (PostgreSQL manual, "Canceling Requests in Progress"): a pooler hands it on, where it has made
 * up the process id that pg_cancel_backend() would need, and no second connection is needed.
 */
function cancel({ host, port, processID, secretKey }: Connection): void {
  const request = Buffer.alloc(16);
  for (const [i, value] of [16, 80877102, processID, secretKey].entries()) request.writeInt32BE(value, i * 4);
  const server = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
  // Left open until the server closes it, as libpq does: a pooler takes an end at once for a client that has gone.
  createConnection(server)
    .on('error', () => undefined)
    .unref()
    .write(request);
}

/**
 * A client of the same make and configuration (search path, TLS, afterCreate), with one connection of its own. Knex asks
 * it for the version, which a pooler that has no second connection to the server does not answer.
 */
function ownClient({ config, constructor: Client }: KnexClient): KnexClient {
  const limit = policy.secondConnection;
  return new Client({
    ...config,
    acquireConnectionTimeout: limit,
    pool: { ...config.pool, min: 0, max: 1, acquireTimeoutMillis: limit, createTimeoutMillis: limit },
  });
}

/**
 * Asked once on the connection of Knex's batch, under whatever search_path it has: so everything is qualified.
 * Marks the transaction. Lifts, for this transaction, the limits that would end it while it idles, and has the
 * server notice within half a minute that we are gone: it would hold Knex's lock until then. (Servers before 9.6
 * and 17 do not know each of the limits.) Gives the statement that undoes this, and tells whether the transaction holds a
 * lock on the table or a part of it: then any other connection would wait for us in vain.
 * Without parameters: a query that has some leaves a snapshot behind, which a CREATE INDEX CONCURRENTLY waits for.
 */
function beginBatch(change: Change): string {
  return `
WITH RECURSIVE tree (oid) AS (
  SELECT pg_catalog.to_regclass(${escapeLiteral(tableName(change))})::pg_catalog.oid
  UNION ALL
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid OPERATOR(pg_catalog.=) i.inhparent
)
SELECT pg_catalog.pg_advisory_xact_lock_shared(${advisoryKey}),
       (SELECT pg_catalog.concat('SELECT ', pg_catalog.string_agg(pg_catalog.format(
                 'pg_catalog.set_config(%L, %L, true)', s.name, s.setting, pg_catalog.set_config(s.name, wanted.setting, true)), ', '))
        FROM pg_catalog.pg_settings s
        JOIN (VALUES ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
                     ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3')
             ) AS wanted (name, setting) ON wanted.name OPERATOR(pg_catalog.=) s.name) AS undo,
       EXISTS (
         SELECT 1 FROM pg_catalog.pg_locks l JOIN tree t ON t.oid OPERATOR(pg_catalog.=) l.relation
         WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
       ) AS holds`;
}

/** Asked on the connection of Knex's batch: who waits for its transaction, and keeps the lock that the program needs? */
const circle = `
SELECT 1 FROM pg_catalog.pg_locks batch
JOIN pg_catalog.pg_locks builder ON NOT builder.granted AND builder.virtualxid OPERATOR(pg_catalog.=) batch.virtualxid
JOIN pg_catalog.pg_locks held ON held.granted AND held.pid OPERATOR(pg_catalog.=) builder.pid
JOIN pg_catalog.pg_locks ours ON NOT ours.granted AND ours.relation OPERATOR(pg_catalog.=) held.relation
WHERE batch.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()`;

/**
 * Ends both connections where the network swallows what is sent: that is no error of its own, and we would wait for
 * ever. While the one works the other is asked for an answer.
 */
function watch(connection: Connection, batch: Connection, onCircle: () => void): () => void {
  if (connection === batch) return () => undefined;
  let silence: NodeJS.Timeout | undefined;
  const pulse = setInterval(async () => {
    if (silence) return;
    silence = setTimeout(() => void Promise.allSettled([connection.end(), batch.end()]), policy.silence);
    const found = await batch.query(circle).catch(() => undefined);
    if (found?.rows.length) onCircle();
    clearTimeout(silence);
    silence = undefined;
  }, policy.pulse);
  return () => {
    clearInterval(pulse);
    clearTimeout(silence);
  };
}
