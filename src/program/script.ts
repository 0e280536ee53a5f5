import type { Change } from '../declaration';
import { type Direction, program, tableName } from './program';

/** What the two scripts of a change are called, in each other's headers. */
export type ScriptNames = Readonly<Record<Direction, string>>;

/** The program as an SQL file: one statement, for psql, a GUI or any driver, without meta-commands and variables. */
export function script(change: Change, direction: Direction, names: ScriptNames): string {
  return `-- ${tableName(change)} ${names.up}\n${program(change, direction)}`;
}
