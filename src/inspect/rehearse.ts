import type { Knex } from 'knex';
import type { DatabaseError } from 'pg';
import { explained, withConnection } from '../connection';
import type { Change } from '../declaration';
import { type Direction, program } from '../program/program';
import { send, surroundings } from '../run';
import { UserError } from '../user-error';

/** What came of doing it and rolling back. */
export interface Rehearsal {
  readonly direction: Direction;
  /** Why it would be refused, and what to do; null where it would be done. */
  readonly refusal: string | null;
  /** What it said, and the verdict. */
  readonly lines: readonly string[];
}

/** Errors that say nothing of the change: no connection, interrupted, in use until the deadline, no such table. */
const notTried = /^(08|57|55P03|42P01|42809|25006)/;

/** @see TableChange.rehearse */
export async function rehearsalOf(knex: Knex, change: Change, direction: Direction): Promise<Rehearsal> {
  const lines: string[] = [];
  let refusal: string | null = null;
  await withConnection(knex, async (connection) => {
    await connection.query('BEGIN ISOLATION LEVEL READ COMMITTED');
    try {
      await send(connection, connection, program(change, direction, surroundings()), (line) => lines.push(line));
    } catch (error) {
      const { code } = error as DatabaseError;
      const shown = explained(error);
      if (!code || notTried.test(code) || !(shown instanceof UserError)) throw shown;
      refusal = shown.message;
    } finally {
      await connection.query('ROLLBACK').catch(() => undefined);
    }
  });
  lines.push(refusal ?? 'It would be done. It was rolled back, and nothing has changed; it locked for as long as the real thing.');
  return { direction, refusal, lines };
}
