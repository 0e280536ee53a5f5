import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { tableName } from '../program/program';
import { checks, hints } from './advice';
import { type Line, looking } from './looking';
import { type KnexRecord, recordedTooEarly, recordOf } from './record';

/** How the table compares with the declaration. */
export interface Verification {
  readonly asDeclared: boolean;
  readonly columns: readonly {
    readonly name: string;
    /** Type, nullability and default as found; null where the column is missing. */
    readonly found: string | null;
    /** What is left to be done about it; empty where it is as declared. */
    readonly differs: readonly string[];
  }[];
  /** What is left to be done that is about none of them, or why it cannot be done. */
  readonly left: readonly string[];
  /** The name under which Knex has it recorded; false where it has not, null where it has no table here that can be read. */
  readonly recorded: KnexRecord['recorded'];
  /** The columns that the role asked for may not read and write. */
  readonly withoutPrivilege: readonly string[];
  readonly hints: readonly string[];
  /** All of this for a reader. */
  readonly lines: readonly string[];
}

/** @see TableChange.verify */
export async function verificationOf(knex: Knex, change: Change, role?: string): Promise<Verification> {
  const { recorded } = await recordOf(knex, change);
  const { columns: declared, rename, django } = change;
  const table = tableName(change);
  const names = [...declared.map(({ name }) => name), ...(rename ? [rename.to] : [])];
  const required = declared.flatMap(({ name, notNull }) => (notNull ? [name] : []));
  return looking(knex, change, 'up', async ({ database, steps, refusal, rows }) => {
    const clauses = steps.flatMap(clausesOf);
    // A line for each conflict; most begin with a column.
    const refusals = (refusal?.split('\n') ?? []).map((line) => ({
      name: names.find((name) => line.startsWith(`${name} is `)) ?? '',
      line,
    }));
    const checked = await rows<Line & { isCertain: boolean }>(checks, names, required);
    const hinted = [django?.app, django?.migration, rename?.to, rename?.from, rename?.type];
    const differences = [...clauses, ...refusals, ...checked.filter(({ isCertain }) => isCertain)];
    const found = await rows(shapes);
    const columns = [...names, ...(rename ? [rename.from] : [])].map((name) => ({
      name,
      found: found.find((column) => column.name === name)?.line ?? null,
      differs: differences.flatMap((difference) => (difference.name === name ? [difference.line] : [])),
    }));
    const missing = role === undefined ? [] : await rows(privileges, role, names);
    const isMade = steps.length === 0 && refusal === null;
    const isRight = isMade && differences.length === 0;
    const result = {
      asDeclared: isRight && missing.length === 0,
      columns: columns.filter(({ name, differs }) => names.includes(name) || differs.length > 0),
      left: [
        ...refusals.flatMap(({ name, line }) => (name === '' ? [line] : [])),
        ...(clauses.length > 0 ? [] : steps),
      ],
      recorded,
      withoutPrivilege: missing.map(({ name }) => name),
      hints: [
        ...new Set(checked.flatMap(({ isCertain, line }) => (isCertain ? [] : [line]))),
        ...(await rows(hints, ...hinted.map((value = '') => value))).map(({ line }) => line),
      ],
    };
    const width = Math.max(...result.columns.map(({ name }) => name.length));
    return {
      ...result,
      lines: [
        database,
        ...result.columns.map(({ name, found, differs }) => {
          const line = `${name.padEnd(width)} ${found ?? 'missing'}`;
          return differs.length === 0 ? `✓ ${line}` : `✗ ${line} (left: ${differs.join('; ')})`;
        }),
        ...[...result.left, ...missing.map(({ line }) => line)].map((line) => `✗ ${line}`),
        ...(change.knex ? [recordLine(recorded, isMade)] : []),
        ...result.hints.map((hint) => `hint: ${hint}`),
        `${table} is ${isRight ? '' : 'not '}as declared${isRight && !result.asDeclared ? `, but ${role} may not use all of it` : ''}.`,
      ],
    };
  });
}

/** The subcommands of a statement of the program, each with the column that it is about: of a RENAME the new name. */
function clausesOf(statement: string): Line[] {
  const subcommand =
    /(?:(?:ADD|ALTER|DROP) COLUMN|RENAME COLUMN .* TO) ("(?:[^"]|"")+"|\w+).*?(?=[,;]?(?: -- only if.*)?$)/gm;
  return [...statement.matchAll(subcommand)].map(([line, column = '']) => ({
    name: column.replace(/^"|"$/g, '').replaceAll('""', '"'),
    line,
  }));
}

/** Type, nullability and default of each column, as text. */
const shapes = `
SELECT a.attname AS name, concat(format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' NOT NULL' END,
                                 ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)) AS line
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped`;

/** A role with grants on columns gets nothing on a column that is added. In a GRANT each word has a list of its own. */
const privileges = `
SELECT a.attname AS name,
       format('%I may not read and write %I: GRANT SELECT (%2$I), INSERT (%2$I), UPDATE (%2$I) ON %s TO %1$I;',
              $2::text, a.attname, a.attrelid::regclass) AS line
FROM pg_attribute a
WHERE a.attrelid = $1 AND a.attname::text = ANY ($3::text[]) AND NOT (
  has_column_privilege($2, a.attrelid, a.attnum, 'SELECT') AND has_column_privilege($2, a.attrelid, a.attnum, 'INSERT')
  AND has_column_privilege($2, a.attrelid, a.attnum, 'UPDATE'))
ORDER BY a.attnum`;

function recordLine(recorded: Verification['recorded'], isMade: boolean): string {
  if (recorded) return isMade ? `✓ recorded by Knex as ${recorded}` : `✗ ${recordedTooEarly(recorded)}`;
  const why = recorded === null ? ', which has no table here that this role can read' : '';
  return `- not recorded by Knex${why}: npx knex migrate:latest records it, under whatever name it has in your project`;
}
