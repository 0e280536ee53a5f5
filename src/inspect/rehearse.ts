import type { Knex } from 'knex';
import { explained } from '../connection';
import type { Change } from '../declaration';
import type { Direction } from '../program/program';
import { tried } from './looking';

/** What came of doing it and taking it back. */
export interface Rehearsal {
  readonly direction: Direction;
  /** Why it would be refused, and what to do; null where it would be done. */
  readonly refusal: string | null;
  /** What it said: the statements that it sent, and warnings. */
  readonly said: readonly string[];
  /** All of this for a reader. */
  readonly lines: readonly string[];
}

/** @see TableChange.rehearse */
export async function rehearsalOf(knex: Knex, change: Change, direction: Direction): Promise<Rehearsal> {
  const { said, refusal } = await tried(knex, change, direction).catch((error) => {
    throw explained(error);
  });
  const verdict = refusal === null ? 'It would be done.' : `It would be refused: ${refusal}`;
  const end = 'It was taken back. It locked as the real thing does, for as long.';
  return { direction, refusal, said, lines: [...said, verdict, end] };
}
