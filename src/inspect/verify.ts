import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { tableName } from '../program/program';
import { name as quoted } from '../program/text';
import { UserError } from '../user-error';
import { type Look, looking } from './looking';
import { isRecorded, recordedTooEarly } from './record';

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
  /** What is left to be done about none of them, or cannot be done. */
  readonly left: readonly string[];
  /** Whether Knex has a migration recorded whose name begins with the id; null where Knex has no table here that can be read. */
  readonly recorded: boolean | null;
  /** The columns that the role asked for may not read and write. */
  readonly withoutPrivilege: readonly string[];
  readonly hints: readonly string[];
  /** All of this for a reader. */
  readonly lines: readonly string[];
}

/** @see TableChange.verify */
export async function verificationOf(knex: Knex, change: Change, role?: string): Promise<Verification> {
  const recorded = await isRecorded(knex, change);
  return looking(knex, change, async (look) => {
    const { steps, refusal } = await look.dryRun('up');
    const clauses = steps.flatMap(clausesOf);
    const { columns: declared, rename } = change;
    const names = [...declared.map(({ name }) => name), ...(rename ? [rename.to] : [])];
    const shapes = await look.rows<{ name: string; shape: string }>(shapeOf);
    const others = shapes.flatMap(({ name }) => (name === rename?.from ? [name] : []));
    const columns = [...names, ...others].map((name) => ({
      name,
      found: shapes.find((shape) => shape.name === name)?.shape ?? null,
      differs: clauses.filter(({ column }) => column === quoted(name)).map(({ clause }) => clause),
    }));
    const left = [
      ...(refusal === null ? [] : [refusal]),
      ...(clauses.length > 0 ? [] : steps),
    ];
    const isMade = steps.length === 0 && refusal === null;
    const withoutPrivilege = role === undefined ? [] : await unprivileged(look, role, names);
    const result = {
      asDeclared: isMade && withoutPrivilege.length === 0,
      columns: columns.filter(({ name, differs }) => names.includes(name) || differs.length > 0),
      left,
      recorded,
      withoutPrivilege,
      hints: [...(await djangoHint(look, change)), ...typeHint(columns, change)],
    };
    return { ...result, lines: [look.database, ...linesOf(result, change, isMade, role)] };
  });
}

/** The subcommands of an ALTER TABLE of the program, a line each, with the column that each is about. */
function clausesOf(statement: string) {
  const subcommand = /((?:ADD|ALTER|DROP|RENAME) COLUMN (?:.*? TO )??("(?:[^"]|"")+"|\w+).*?)[,;]?$/gm;
  return [...statement.matchAll(subcommand)].map(([, clause = '', column = '']) => ({ clause, column }));
}

/** Type, nullability and default of each column, as text. */
const shapeOf = `
SELECT a.attname AS name, concat(format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' NOT NULL' END,
                                 ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)) AS shape
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped`;

/** has_column_privilege: a role with column grants gets nothing on a column that is added. */
async function unprivileged(look: Look, role: string, names: readonly string[]): Promise<string[]> {
  const found = await look.rows<{ attname: string; allowed: boolean }>(
    `SELECT a.attname, has_column_privilege($2, a.attrelid, a.attnum, 'SELECT') AND has_column_privilege($2, a.attrelid, a.attnum, 'UPDATE')
            AND has_column_privilege($2, a.attrelid, a.attnum, 'INSERT') AS allowed
     FROM pg_attribute a JOIN pg_roles r ON r.rolname = $2 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped`,
    role,
  );
  if (found.length === 0)
    throw new UserError(
      `There is no role "${role}" here.\nNames are case-sensitive: SELECT rolname FROM pg_roles;`,
    );
  return names.filter((name) => found.some(({ attname, allowed }) => attname === name && !allowed));
}

async function djangoHint({ rows }: Look, { django }: Change): Promise<string[]> {
  const [table] = await rows<{ name: string }>(
    `SELECT format('%I.%I', n.nspname, m.relname) AS name
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class m ON m.relnamespace = n.oid AND m.relname = 'django_migrations'
     WHERE c.oid = $1 AND has_table_privilege(m.oid, 'SELECT')`,
  );
  if (!django || !table) return [];
  const recorded = await rows(
    `SELECT 1 FROM ${table.name} WHERE $1::oid IS NOT NULL AND app = $2 AND name = $3`,
    django.app,
    django.migration,
  );
  if (recorded.length > 0) return [];
  return [
    `Django has not recorded its own migration. So that it does not try again: python manage.py migrate ${django.app} ${django.migration} --fake`,
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

function linesOf(
  { asDeclared, columns, left, recorded, withoutPrivilege, hints }: Omit<Verification, 'lines'>,
  change: Change,
  isMade: boolean,
  role: string | undefined,
): string[] {
  const width = Math.max(...columns.map(({ name }) => name.length));
  return [
    ...columns.map(({ name, found, differs }) =>
      [
        differs.length === 0 ? '✓' : '✗',
        name.padEnd(width),
        found ?? 'missing',
        ...(differs.length > 0 ? [`(left: ${differs.join('; ')})`] : []),
      ].join(' '),
    ),
    ...left.map((line) => `✗ ${line}`),
    ...withoutPrivilege.map((name) => {
      // A list of columns belongs to the one word before it: GRANT SELECT, UPDATE (x) is SELECT on the whole table.
      const rights = ['SELECT', 'INSERT', 'UPDATE'].map((right) => `${right} (${quoted(name)})`).join(', ');
      return `✗ ${role} may not read and write ${name}: GRANT ${rights} ON ${tableName(change)} TO ${quoted(role ?? '')};`;
    }),
    recorded
      ? isMade
        ? '✓ recorded by Knex'
        : `✗ ${recordedTooEarly}`
      : `- not recorded by Knex as ${change.id}_...${recorded === null ? ', which has no table here that this role can read' : ''}: npx knex migrate:latest records it, under whatever name it has in your project`,
    ...hints.map((hint) => `hint: ${hint}`),
    `${tableName(change)} is ${isMade ? '' : 'not '}as declared${isMade && !asDeclared ? `, but ${role} may not use all of it` : ''}.`,
  ];
}
