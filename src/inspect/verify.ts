import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { tableName } from '../program/program';
import { name as quoted } from '../program/text';
import { checks } from './advice';
import { looking } from './looking';
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
    const refusals = refusal?.split('\n') ?? [];
    const refused = names.flatMap((name) =>
      refusals.flatMap((line) => (line.startsWith(`${name} is `) ? [{ name, line }] : [])),
    );
    const found = await rows<{ name: string; shape: string }>(shapes);
    const checked = await rows<Line & { isCertain: boolean }>(
      checks,
      JSON.stringify(names),
      JSON.stringify(required),
    );
    const differences = [...clauses, ...refused, ...checked.filter(({ isCertain }) => isCertain)];
    const columns = [...names, ...(rename ? [rename.from] : [])].map((name) => ({
      name,
      found: found.find((column) => column.name === name)?.shape ?? null,
      differs: differences.filter((difference) => difference.name === name).map(({ line }) => line),
    }));
    const missing = role === undefined ? [] : await rows<Line>(privileges, role, JSON.stringify(names));
    const isMade = steps.length === 0 && refusal === null;
    const isRight = isMade && differences.length === 0;
    const result = {
      asDeclared: isRight && missing.length === 0,
      columns: columns.filter(({ name, differs }) => names.includes(name) || differs.length > 0),
      left: [
        ...refusals.filter((line) => !refused.some((conflict) => conflict.line === line)),
        ...(clauses.length > 0 ? [] : steps),
      ],
      recorded,
      withoutPrivilege: missing.map(({ name }) => name),
      hints: [
        ...new Set(checked.flatMap(({ isCertain, line }) => (isCertain ? [] : [line]))),
        ...(django ? await rows<Line>(djangoRecord, django.app, django.migration) : []).map(
          ({ line }) => line,
        ),
        ...typeHint(columns, change),
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

interface Line {
  /** Of a column. */
  readonly name: string;
  readonly line: string;
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
                                 ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)) AS shape
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped`;

/** A role with grants on columns gets nothing on a column that is added. In a GRANT each word has a list of its own. */
const privileges = `
SELECT a.attname AS name,
       format('%I may not read and write %I: GRANT SELECT (%2$I), INSERT (%2$I), UPDATE (%2$I) ON %s TO %1$I;',
              $2::text, a.attname, a.attrelid::regclass) AS line
FROM pg_attribute a
WHERE a.attrelid = $1 AND $3::jsonb ? a.attname::text AND NOT (
  has_column_privilege($2, a.attrelid, a.attnum, 'SELECT') AND has_column_privilege($2, a.attrelid, a.attnum, 'INSERT')
  AND has_column_privilege($2, a.attrelid, a.attnum, 'UPDATE'))
ORDER BY a.attnum`;

/** Django's own table beside this one; by query_to_xml, because it may not be there. */
const djangoRecord = `
SELECT format('Django has not recorded its own migration. So that it does not try again: python manage.py migrate %s %s --fake',
              $2::text, $3::text) AS line
FROM pg_class c JOIN pg_class m ON m.relnamespace = c.relnamespace AND m.relname = 'django_migrations'
WHERE c.oid = $1 AND has_table_privilege(m.oid, 'SELECT') AND query_to_xml(format(
  'SELECT 1 FROM %s WHERE app = %L AND name = %L', m.oid::regclass, $2, $3), false, false, '')::text NOT LIKE '%<row%'`;

function typeHint(columns: Verification['columns'], change: Change): string[] {
  const { rename } = change;
  const [type = ''] = columns.find(({ name }) => name === rename?.to)?.found?.split(' ') ?? [];
  if (!rename || !/^jsonb?$/.test(type) || type === rename.type) return [];
  return [
    `${rename.to} is ${type}, as ${rename.from} was; the application's model says ${rename.type}. All works but saving an empty ` +
      `string. At a quiet hour, as it rewrites the table: ALTER TABLE ${tableName(change)} ALTER COLUMN ${quoted(rename.to)} TYPE ${rename.type};`,
  ];
}

function recordLine(recorded: Verification['recorded'], isMade: boolean): string {
  if (recorded) return isMade ? `✓ recorded by Knex as ${recorded}` : `✗ ${recordedTooEarly(recorded)}`;
  const why = recorded === null ? ', which has no table here that this role can read' : '';
  return `- not recorded by Knex${why}: npx knex migrate:latest records it, under whatever name it has in your project`;
}
