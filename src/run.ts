import { setTimeout as sleep } from 'node:timers/promises';
import type { Knex } from 'knex';
import type { DatabaseError } from 'pg';
import { type Connection, explained, withConnection } from './connection';
import type { Change } from './declaration';
import { type BatchBegun, beginBatch, endBatch } from './program/batch';
import type { Direction } from './program/look';
import { policy, sleepAfter } from './program/policy';
import { program } from './program/program';
import { chosen, ownClient, type Session, watch } from './session';
import { UserError } from './user-error';

/** What a run takes from outside. */
export interface Surroundings {
  /** Shows one line to the user. */
  readonly report: (line: string) => void;
  /** Resolves after so many milliseconds, or when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** How long new tries are begun, in milliseconds. */
  readonly deadline: number;
  /** Go on although a trigger function reads a column that changes its name. */
  readonly ignoreDependents: boolean;
}

/**
 * As configured: MIGRATION_QUIET=1 shows nothing, MIGRATION_LOCK_DEADLINE is in seconds,
 * MIGRATION_IGNORE_DEPENDENTS=1 goes on.
 *
 * @throws UserError where the deadline is no number
 */
export function surroundings(env: NodeJS.ProcessEnv = process.env): Surroundings {
  const seconds = env['MIGRATION_LOCK_DEADLINE'] || policy.deadline / 1000;
  if (!(Number(seconds) >= 0)) {
    throw new UserError(
      `MIGRATION_LOCK_DEADLINE is "${seconds}". It is a number of seconds, for example 600.`,
    );
  }
  return {
    report: env['MIGRATION_QUIET'] === '1' ? () => undefined : console.log,
    sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined),
    deadline: Number(seconds) * 1000,
    ignoreDependents: env['MIGRATION_IGNORE_DEPENDENTS'] === '1',
  };
}

/**
 * Makes the change, or takes it back: sends the program, one statement a try, until nothing is left to do.
 *
 * @param knex what Knex hands to a migration
 * @throws UserError: a refusal, a lost connection, an interruption, a table that was in use until the deadline
 */
export async function run(
  knex: Knex,
  change: Change,
  direction: Direction,
  around: Surroundings = surroundings(),
): Promise<void> {
  const { interrupted, stopListening } = interruption();
  const own = ownClient(knex);
  // Opened while the first connection still looks.
  const opening = own.acquireConnection().catch((error: Error) => error);
  try {
    await withConnection(knex, async (batch) => {
      const { rows } = await batch.query<BatchBegun>(beginBatch(change));
      const [{ holds, settings } = { holds: false, settings: [] }] = rows;
      const session = await chosen(knex, batch, opening, holds, around.report);
      await untilDone(
        session,
        batch,
        program(change, direction, { ...around, inBatches: session.commits }),
        interrupted,
        around,
      );
      await batch.query(endBatch, [JSON.stringify(settings)]);
      if (interrupted.aborted) {
        around.report(`${interrupted.reason} came too late: the work on ${change.table} is done.`);
      }
    });
  } catch (error) {
    throw explained(error);
  } finally {
    stopListening();
    const opened = await opening;
    if (!(opened instanceof Error)) await own.releaseConnection(opened);
    // Knex has work to do while the server ends the connection.
    own.destroy().catch(() => undefined);
  }
}

/** The first SIGINT or SIGTERM ends the work in order. The second one ends the process. */
function interruption(): { interrupted: AbortSignal; stopListening: () => void } {
  const stop = new AbortController();
  const stopListening = () => process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  const onSignal = (signal: NodeJS.Signals) => {
    stopListening();
    stop.abort(signal);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  return { interrupted: stop.signal, stopListening };
}

async function untilDone(
  { connection, tryOnce }: Session,
  batch: Connection,
  statement: string,
  interrupted: AbortSignal,
  { report, sleep, deadline }: Surroundings,
): Promise<void> {
  const cancel = () => {
    if (batch === connection) return;
    batch.query('SELECT pg_catalog.pg_cancel_backend($1)', [connection.processID]).catch(() => undefined);
  };
  // A later try says much of what an earlier one has said.
  const told = new Set<string>();
  const tell = (line: string) => {
    if (!told.has(line)) report(line);
    told.add(line);
  };
  const onNotice = ({ severity, message }: { severity?: string | undefined; message?: string | undefined }) =>
    tell(severity === 'WARNING' ? `WARNING: ${message}` : `${message}`);
  interrupted.addEventListener('abort', cancel);
  connection.on('notice', onNotice);
  let started = performance.now();
  // Without batches a try leaves everything behind, or nothing.
  let left = 'Nothing has changed, and nothing is locked.';
  try {
    for (let tries = 1; ; tries++) {
      if (interrupted.aborted) throw new UserError(`${interrupted.reason}: ended. ${left}`);
      const stopWatching = watch(connection, batch);
      const { said, again, failure } = await tryOnce(statement)
        .then(
          (tried) => ({ ...tried, failure: undefined }),
          (failure: DatabaseError) => ({ said: '', again: false, failure }),
        )
        .finally(stopWatching);
      for (const line of said.split('\n').filter(Boolean)) tell(line);
      if (again) {
        left = 'What is done so far stays, and nothing is locked: the same command again goes on from there.';
        started = performance.now();
        tries = 0;
        continue;
      }
      if (!failure) return;
      const isInUse = failure.code === '55P03' || failure.code === '40P01';
      if (!isInUse && !(interrupted.aborted && failure.code === '57014')) throw explained(failure, left);
      if (interrupted.aborted) continue;
      const pause = sleepAfter(tries) * (1 + policy.jitter * (2 * Math.random() - 1));
      const waited = performance.now() - started;
      if (waited + pause > deadline) throw gaveUp(failure, tries, waited, deadline, left);
      report(`${failure.message}. Try ${tries}; the next one in ${seconds(pause)} s. ${failure.detail}`);
      await sleep(pause, interrupted);
    }
  } finally {
    interrupted.removeEventListener('abort', cancel);
    connection.off('notice', onNotice);
  }
}

function gaveUp(
  { message, detail, hint }: DatabaseError,
  tries: number,
  waited: number,
  deadline: number,
  left: string,
) {
  return new UserError(
    [
      message,
      detail,
      hint,
      `Given up after ${tries} tries in ${seconds(waited)} s. ${left}`,
      `To wait longer, in seconds: MIGRATION_LOCK_DEADLINE=${Math.max(600, Math.ceil(deadline / 1000) * 5)}`,
    ].join('\n'),
  );
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}
