import type { Knex } from 'knex';
import type { DatabaseError } from 'pg';
import { explained, undone } from '../connection';
import type { Change } from '../declaration';
import { type Direction, program } from '../program/program';
import { send, surroundings } from '../run';

/** Errors that say nothing of the change: no connection, no memory, no lock, interrupted; no table to change. */
const blind = /^(|08...|53...|55P03|57...|42P01|42809)$/;

/**
 * While it waits it says so at once.
 *
 * @see TableChange.rehearse
 * @param dry only what it would say
 */
export async function rehearsalOf(knex: Knex, change: Change, direction: Direction, dry = false) {
  const said: string[] = [];
  const statement = program(change, direction, { ...surroundings(), dry });
  const report = (line: string) => {
    if (/\bTry \d+; the next one in /.test(line)) console.error(line);
    else if (!/: in a transaction of yours, /.test(line)) said.push(line);
  };
  const refusal = await undone(knex, async (connection) => {
    try {
      await send(connection, connection, statement, report, 'Nothing has changed.');
      return null;
    } catch (error) {
      const { code = '', message } = error as DatabaseError;
      const isRefusal = code !== '55P03' && (!blind.test(code) || message.includes(' is left as it was: '));
      if (!isRefusal) throw error;
      return explained(error).message;
    }
  });
  const verdict = refusal === null ? 'It would be done.' : `It would be refused: ${refusal}`;
  const end = 'It was taken back. It locked as the real thing does, for as long.';
  return {
    direction,
    /** Why it would be refused, and what to do; null where it would be done. */
    refusal,
    /** What it said: the statements that it sent, and warnings. */
    said,
    /** All of this for a reader. */
    lines: [...said, verdict, end],
  };
}
