import type { Knex } from 'knex';
import { checked, type Declaration } from './declaration';
import type { planOf, rehearsalOf, verificationOf } from './inspect';
import type { Direction } from './program/program';
import type { ScriptNames } from './program/script';
import { run } from './run';

export type { Column, Declaration, Rename } from './declaration';
export type { Direction } from './program/program';
export { UserError } from './user-error';

/** A declared change: what Knex needs of a migration, and what a pipeline and a DBA need beside it. */
export type TableChange = Readonly<ReturnType<typeof tableChange>>;
/** What would be done. */
export type Plan = Awaited<ReturnType<typeof planOf>>;
/** What came of doing it and taking it back. */
export type Rehearsal = Awaited<ReturnType<typeof rehearsalOf>>;
/** How the table compares with the declaration. */
export type Verification = Awaited<ReturnType<typeof verificationOf>>;

/**
 * Turns a declaration into a migration: `export const { up, down, plan, rehearse, verify, script } = tableChange({...})`.
 *
 * @throws UserError with every mistake in the declaration
 */
export function tableChange(declaration: Declaration) {
  const change = checked(declaration);
  // DB_SCHEMA: a table of that name in public, which is on the path as well, is another one.
  const inSchema = ({ userParams = {} }: Knex) => {
    const schema: string | undefined = userParams['schema'];
    return { ...(schema && { schema }), ...change };
  };
  return {
    /** Makes the change, from whatever state the table is in. @throws UserError, with nothing changed */
    up: (knex: Knex) => run(knex, inSchema(knex), 'up'),
    /** Takes it back to the shape that `up` found. @throws UserError, with nothing changed */
    down: (knex: Knex) => run(knex, inSchema(knex), 'down'),
    /** What would be done now, without doing it or making anybody wait. @throws UserError where there is nothing to look at */
    plan: (knex: Knex, direction: Direction = 'up'): Promise<Plan> =>
      inspect().planOf(knex, inSchema(knex), direction),
    /** Does it and rolls back, with the same locks and errors. @throws UserError where it could not try */
    rehearse: (knex: Knex, direction: Direction = 'up'): Promise<Rehearsal> =>
      inspect().rehearsalOf(knex, inSchema(knex), direction),
    /** Whether the table is as declared. @throws UserError where there is nothing to look at */
    verify: (knex: Knex, role?: string): Promise<Verification> =>
      inspect().verificationOf(knex, inSchema(knex), role),
    /** The same program for psql and any other client. */
    script: (direction: Direction, names: ScriptNames) =>
      (require('./program/script') as typeof import('./program/script')).script(change, direction, names),
  };
}

/** Late: Knex needs no more than `run` to change the table, and would read and compile the rest every time. */
const inspect = () => require('./inspect') as typeof import('./inspect');
