import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { tableName } from '../program/program';
import { looking, recordedTooEarly } from './looking';

/** @see TableChange.verify */
export async function verificationOf(knex: Knex, change: Change, role?: string) {
  const { steps, recorded, refusal, database, advice } = await looking(knex, change, 'up', role);
  const { columns: declared, rename } = change;
  const table = tableName(change);
  const names = [...declared.map(({ name }) => name), ...(rename ? [rename.to] : [])];
  const clauses = steps.flatMap(clausesOf);
  // A line for each conflict; most begin with a column.
  const refusals = (refusal?.split('\n') ?? []).map((line) => ({
    name: names.find((name) => line.startsWith(`${name} is `)) ?? '',
    line,
  }));
  const differences = [...clauses, ...refusals, ...advice('refusal')];
  const columns = [...names, ...(rename ? [rename.from] : [])].map((name) => ({
    name,
    /** Type, nullability and default as found; null where the column is missing. */
    found: advice('shape').find((column) => column.name === name)?.line ?? null,
    /** What is left to be done about it; empty where it is as declared. */
    differs: differences.flatMap((difference) => (difference.name === name ? [difference.line] : [])),
  }));
  const missing = advice('privilege');
  const isMade = steps.length === 0 && refusal === null;
  const isRight = isMade && differences.length === 0;
  const result = {
    asDeclared: isRight && missing.length === 0,
    columns: columns.filter(({ name, differs }) => names.includes(name) || differs.length > 0),
    /** What is left to be done that is about none of them, or why it cannot be done. */
    left: [
      ...refusals.flatMap(({ name, line }) => (name === '' ? [line] : [])),
      ...(clauses.length > 0 ? [] : steps),
    ],
    recorded,
    /** The columns that the role asked for may not read and write. */
    withoutPrivilege: missing.map(({ name }) => name),
    hints: [...new Set(advice('check', 'hint').map(({ line }) => line))],
  };
  const width = Math.max(...result.columns.map(({ name }) => name.length));
  const lines = [
    database,
    ...result.columns.map(({ name, found, differs }) => {
      const line = `${name.padEnd(width)} ${found ?? 'missing'}`;
      return differs.length === 0 ? `✓ ${line}` : `✗ ${line} (left: ${differs.join('; ')})`;
    }),
    ...[...result.left, ...missing.map(({ line }) => line)].map((line) => `✗ ${line}`),
    ...(change.knex ? [recordLine(recorded, isMade, steps)] : []),
    ...result.hints.map((hint) => `hint: ${hint}`),
    `${table} is ${isRight ? '' : 'not '}as declared${isRight && !result.asDeclared ? `, but ${role} may not use all of it` : ''}.`,
  ];
  return {
    ...result,
    /** All of this for a reader. */
    lines,
  };
}

/** The subcommands of a statement of the program, each with the column that it is about: of a RENAME the new name. */
function clausesOf(statement: string): { name: string; line: string }[] {
  const subcommand =
    /(?:(?:ADD|ALTER|DROP) COLUMN|RENAME COLUMN .* TO) ("(?:[^"]|"")+"|\w+).*?(?=[,;]?(?: -- .*)?$)/gm;
  return [...statement.matchAll(subcommand)].map(([line, column = '']) => ({
    name: column.replace(/^"|"$/g, '').replaceAll('""', '"'),
    line,
  }));
}

function recordLine(recorded: string | false | null, isMade: boolean, steps: readonly string[]): string {
  if (recorded)
    return isMade ? `✓ recorded by Knex as ${recorded}` : `✗ ${recordedTooEarly(recorded, steps)}`;
  const why = recorded === null ? ', which has no table here that this role can read' : '';
  return `- not recorded by Knex${why}: npx knex migrate:latest ${isMade ? '' : 'makes and '}records it, under whatever name it has in your project`;
}
