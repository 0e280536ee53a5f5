import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { tableName } from '../program/program';
import { name as quoted } from '../program/text';
import { UserError } from '../user-error';
import { checks } from './advice';
import { type Look, looking } from './looking';
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
  const { columns: declared, rename } = change;
  const names = [...declared.map(({ name }) => name), ...(rename ? [rename.to] : [])];
  return looking(knex, change, async (look) => {
    const { steps, refusal } = await look.dryRun('up');
    const clauses = steps.flatMap(clausesOf);
    const nullable = names.map((name) => [
      name,
      !declared.some((column) => column.name === name && column.notNull),
    ]);
    const checked = await look.rows<Check>(checks, JSON.stringify(Object.fromEntries(nullable)));
    const found = await look.rows<{ name: string; shape: string }>(shapes);
    const columns = [...names, ...(rename ? [rename.from] : [])].map((name) => ({
      name,
      found: found.find((column) => column.name === name)?.shape ?? null,
      differs: [...clauses, ...checked.filter(({ isCertain }) => isCertain)]
        .filter((difference) => difference.name === name)
        .map(({ line }) => line),
    }));
    const withoutPrivilege = role === undefined ? [] : await unprivileged(look, role, names);
    const isMade = steps.length === 0 && refusal === null;
    const isRight = isMade && columns.every(({ differs }) => differs.length === 0);
    const result = {
      asDeclared: isRight && withoutPrivilege.length === 0,
      columns: columns.filter(({ name, differs }) => names.includes(name) || differs.length > 0),
      left: [...(refusal === null ? [] : [refusal]), ...(clauses.length > 0 ? [] : steps)],
      recorded,
      withoutPrivilege,
      hints: [
        ...new Set(checked.flatMap(({ isCertain, line }) => (isCertain ? [] : [line]))),
        ...(await djangoHint(look, change)),
        ...typeHint(columns, change),
      ],
    };
    const table = tableName(change);
    return {
      ...result,
      lines: [
        look.database,
        ...linesOf(result, table, role),
        ...(change.knex ? [recordLine(recorded, isMade)] : []),
        ...result.hints.map((hint) => `hint: ${hint}`),
        `${table} is ${isRight ? '' : 'not '}as declared${isRight && !result.asDeclared ? `, but ${role} may not use all of it` : ''}.`,
      ],
    };
  });
}

interface Check {
  readonly name: string;
  readonly isCertain: boolean;
  readonly line: string;
}

/** The subcommands of a statement of the program, each with the column that it is about: of a RENAME the new name. */
function clausesOf(statement: string) {
  const subcommand = /(?:(?:ADD|ALTER|DROP) COLUMN|RENAME COLUMN .* TO) ("(?:[^"]|"")+"|\w+).*?(?=,?$)/gm;
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

/** A role with grants on columns gets nothing on a column that is added. */
const privileges = `
SELECT a.attname AS name, bool_and(has_column_privilege(r.oid, a.attrelid, a.attnum, p)) AS allowed
FROM pg_attribute a CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p JOIN pg_roles r ON r.rolname = $2
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attname`;

async function unprivileged({ rows }: Look, role: string, names: readonly string[]): Promise<string[]> {
  const found = await rows<{ name: string; allowed: boolean }>(privileges, role);
  if (found.length === 0) {
    throw new UserError(
      `There is no role "${role}" here.\nNames are case-sensitive: SELECT rolname FROM pg_roles;`,
    );
  }
  return names.filter((name) => found.some((column) => column.name === name && !column.allowed));
}

async function djangoHint({ rows }: Look, { django }: Change): Promise<string[]> {
  const [table] = await rows<{ name: string }>(
    `SELECT format('%I.%I', n.nspname, m.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_class m ON m.relnamespace = n.oid AND m.relname = 'django_migrations' AND has_table_privilege(m.oid, 'SELECT')
     WHERE c.oid = $1`,
  );
  if (!django || !table) return [];
  const { app, migration } = django;
  const record = `SELECT 1 FROM ${table.name} WHERE $1::oid IS NOT NULL AND app = $2 AND name = $3`;
  return (await rows(record, app, migration)).length > 0
    ? []
    : [
        `Django has not recorded its own migration. So that it does not try again: python manage.py migrate ${app} ${migration} --fake`,
      ];
}

function typeHint(columns: Verification['columns'], change: Change): string[] {
  const { rename } = change;
  const [type = ''] = columns.find(({ name }) => name === rename?.to)?.found?.split(' ') ?? [];
  if (!rename || !/^jsonb?$/.test(type) || type === rename.type) return [];
  return [
    `${rename.to} is ${type}, as ${rename.from} was; the application's model says ${rename.type}. All works but saving an empty ` +
      `string. At a quiet hour, as it rewrites the table: ALTER TABLE ${tableName(change)} ALTER COLUMN ${quoted(rename.to)} TYPE ${rename.type};`,
  ];
}

function linesOf({ columns, left, withoutPrivilege }: Omit<Verification, 'lines'>, table: string, role = '') {
  const width = Math.max(...columns.map(({ name }) => name.length));
  return [
    ...columns.map(({ name, found, differs }) => {
      const line = `${name.padEnd(width)} ${found ?? 'missing'}`;
      return differs.length === 0 ? `✓ ${line}` : `✗ ${line} (left: ${differs.join('; ')})`;
    }),
    ...left.map((line) => `✗ ${line}`),
    ...withoutPrivilege.map((name) => {
      // A list of columns belongs to the one word before it: GRANT SELECT, UPDATE (x) is SELECT on the whole table.
      const rights = ['SELECT', 'INSERT', 'UPDATE'].map((right) => `${right} (${quoted(name)})`).join(', ');
      return `✗ ${role} may not read and write ${name}: GRANT ${rights} ON ${table} TO ${quoted(role)};`;
    }),
  ];
}

function recordLine(recorded: Verification['recorded'], isMade: boolean): string {
  if (recorded) return isMade ? `✓ recorded by Knex as ${recorded}` : `✗ ${recordedTooEarly(recorded)}`;
  const why = recorded === null ? ', which has no table here that this role can read' : '';
  return `- not recorded by Knex${why}: npx knex migrate:latest records it, under whatever name it has in your project`;
}
