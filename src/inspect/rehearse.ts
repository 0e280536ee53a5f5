import type { Knex } from 'knex';
import type { DatabaseError } from 'pg';
import { explained, withConnection } from '../connection';
import type { Change } from '../declaration';
import { type Direction, program } from '../program/program';
import { send, surroundings } from '../run';
import { UserError } from '../user-error';
import { undone } from './looking';

/** What came of doing it and taking it back. */
export interface Rehearsal {
  readonly direction: Direction;
  /** Why it would be refused, and what to do; null where it would be done. */
  readonly refusal: string | null;
  /** What it said: statements that it sent, warnings, and whom it waited for. */
  readonly said: readonly string[];
  /** All of this for a reader. */
  readonly lines: readonly string[];
}

/** Errors that say nothing of the change: the connection, the server's memory, in use until the deadline, interrupted. */
const notTried = /^(08|53|55P03|57)/;

/** @see TableChange.rehearse */
export async function rehearsalOf(knex: Knex, change: Change, direction: Direction): Promise<Rehearsal> {
  const said: string[] = [];
  const statement = program(change, direction, surroundings());
  const refusal = await withConnection(knex, (connection) =>
    undone(knex, connection, '', () => send(connection, connection, statement, (line) => said.push(line))),
  ).then(
    () => null,
    (error: DatabaseError) => {
      const shown = explained(error);
      if (!error.code || notTried.test(error.code) || !(shown instanceof UserError)) throw shown;
      return shown.message;
    },
  );
  const verdict = refusal === null ? 'It would be done.' : `It would be refused: ${refusal}`;
  return {
    direction,
    refusal,
    said,
    lines: [...said, verdict, 'It was taken back. It locked as the real thing does, for as long.'],
  };
}
