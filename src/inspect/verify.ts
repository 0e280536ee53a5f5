import type { Knex } from 'knex';
import type { Change } from '../declaration';
import { target } from '../program/look';
import { report } from '../program/report';
import { type Rule, rules } from '../program/rules';
import { tableName } from '../program/table';
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
    const left = (await look.rows<Rule>(rules(change, 'up'))).filter(
      ({ phase, sql }) => phase === 'conflict' || (sql !== null && phase !== 'prepare'),
    );
    // The one for the way back has the old name as well.
    const shapes = await look.rows<Shape>(report(change, 'down', target));
    const names = shapes.map((shape) => shape.column_name).filter((name) => name !== change.rename?.from);
    const differences = left.flatMap((rule) =>
      rule.words.map((words, i) => ({ name: rule.columns[i], words: words.replace('{rows} ', '') })),
    );
    const others = differences.flatMap(({ name }) => (name && !names.includes(name) ? [name] : []));
    const columns = [...names, ...new Set(others)].map((name) => ({
      name,
      found: described(shapes.find((shape) => shape.column_name === name)),
      differs: differences.filter((one) => one.name === name).map(({ words }) => words),
    }));
    const withoutPrivilege = role === undefined ? [] : await unprivileged(look, role, names);
    const result = {
      asDeclared: left.length === 0 && withoutPrivilege.length === 0,
      columns,
      recorded,
      withoutPrivilege,
      hints: [...(await djangoHint(look, change)), ...typeHint(shapes, change)],
    };
    return { ...result, lines: [look.database, ...linesOf(result, change, left.length === 0, role)] };
  });
}

interface Shape {
  readonly column_name: string;
  /** As format_type() prints it; null where the column is missing. */
  readonly type: string | null;
  readonly nullable: 'yes' | 'no' | null;
  readonly default_value: string | null;
}

function described(shape: Shape | undefined): string | null {
  if (!shape?.type) return null;
  return (
    shape.type +
    (shape.nullable === 'no' ? ' NOT NULL' : '') +
    (shape.default_value ? ` DEFAULT ${shape.default_value}` : '')
  );
}

/** has_column_privilege: a role with column grants gets nothing on a column that is added. */
async function unprivileged(look: Look, role: string, names: readonly string[]): Promise<string[]> {
  const found = await look.rows<{ attname: string; allowed: boolean }>(
    `SELECT a.attname, has_column_privilege($1, a.attrelid, a.attnum, 'SELECT') AND has_column_privilege($1, a.attrelid, a.attnum, 'UPDATE')
            AND has_column_privilege($1, a.attrelid, a.attnum, 'INSERT') AS allowed
     FROM pg_attribute a JOIN pg_roles r ON r.rolname = $1 WHERE a.attrelid = ${target} AND a.attnum > 0 AND NOT a.attisdropped`,
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
     WHERE c.oid = ${target} AND has_table_privilege(m.oid, 'SELECT')`,
  );
  if (!django || !table) return [];
  const recorded = await rows(
    `SELECT 1 FROM ${table.name} WHERE app = $1 AND name = $2`,
    django.app,
    django.migration,
  );
  if (recorded.length > 0) return [];
  return [
    `Django has not recorded its own migration. So that it does not try again: python manage.py migrate ${django.app} ${django.migration} --fake`,
  ];
}

function typeHint(shapes: readonly Shape[], change: Change): string[] {
  const { rename } = change;
  const shape = shapes.find(({ column_name }) => column_name === rename?.to);
  if (!rename || !shape || !/^jsonb?$/.test(shape.type ?? '') || shape.type === rename.type) return [];
  return [
    `${rename.to} is ${shape.type}, as ${rename.from} was; the application's model says ${rename.type}. All works but saving an empty ` +
      `string. At a quiet hour, as it rewrites the table: ALTER TABLE ${tableName(change)} ALTER COLUMN ${quoted(rename.to)} TYPE ${rename.type};`,
  ];
}

function linesOf(
  { asDeclared, columns, recorded, withoutPrivilege, hints }: Omit<Verification, 'lines'>,
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
