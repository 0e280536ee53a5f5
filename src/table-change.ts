import type { Knex } from 'knex';
import { checked, type Declaration } from './declaration';
import type { Plan } from './inspect/plan';
import type { Rehearsal } from './inspect/rehearse';
import type { Verification } from './inspect/verify';
import type { Direction } from './program/program';
import type { ScriptNames } from './program/script';
import { run } from './run';

export type { Column, Declaration, Rename } from './declaration';
export type { Plan } from './inspect/plan';
export type { Rehearsal } from './inspect/rehearse';
export type { Verification } from './inspect/verify';
export type { Direction } from './program/program';
export { UserError } from './user-error';

/** A declared change: what Knex needs of a migration, and what a pipeline and a DBA need beside it. */
export interface TableChange {
  /** Makes the change, from whatever state the table is in. @throws UserError, with nothing changed */
  readonly up: (knex: Knex) => Promise<void>;
  /** Takes it back to the shape that `up` found. @throws UserError, with nothing changed */
  readonly down: (knex: Knex) => Promise<void>;
  /** What would be done now, without doing it or making anybody wait. @throws UserError where there is nothing to look at */
  readonly plan: (knex: Knex, direction?: Direction) => Promise<Plan>;
  /** Does it and rolls back, with the same locks and errors. @throws UserError where it could not try */
  readonly rehearse: (knex: Knex, direction?: Direction) => Promise<Rehearsal>;
  /** Whether the table is as declared. @throws UserError where there is nothing to look at */
  readonly verify: (knex: Knex, role?: string) => Promise<Verification>;
  /** The same program for psql and any other client. */
  readonly script: (direction: Direction, names: ScriptNames) => string;
}

/** Loaded late: Knex needs none of it to change the table, and would read and compile it every time. */
const late = {
  plan: () => require('./inspect/plan') as typeof import('./inspect/plan'),
  rehearse: () => require('./inspect/rehearse') as typeof import('./inspect/rehearse'),
  verify: () => require('./inspect/verify') as typeof import('./inspect/verify'),
  script: () => require('./program/script') as typeof import('./program/script'),
};

/**
 * Turns a declaration into a migration: `export const { up, down, plan, verify, script } = tableChange({...})`.
 *
 * @throws UserError with every mistake in the declaration
 */
export function tableChange(declaration: Declaration): TableChange {
  const change = checked(declaration);
  return {
    up: (knex) => run(knex, change, 'up'),
    down: (knex) => run(knex, change, 'down'),
    plan: (knex, direction = 'up') => late.plan().planOf(knex, change, direction),
    rehearse: (knex, direction = 'up') => late.rehearse().rehearsalOf(knex, change, direction),
    verify: (knex, role) => late.verify().verificationOf(knex, change, role),
    script: (direction, names) => late.script().script(change, direction, names),
  };
}
