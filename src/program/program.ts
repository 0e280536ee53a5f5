import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { escapeIdentifier } from 'pg';
import type { Change } from '../declaration';
import { policy } from './policy';

/** Which way: `up` makes the change, `down` takes it back. */
export type Direction = 'up' | 'down';

/** What the caller may choose; a reader of a script changes it at its top. */
interface Options {
  /** How long new tries are begun, in milliseconds. */
  readonly deadline?: number;
  /** To go on although a trigger would fail. */
  readonly ignoreDependents?: boolean;
  /** Only to say what would be done; in a script the setting table_change.dry decides. */
  readonly dry?: boolean;
}

/** What the table is called in a statement: an unqualified name is looked up on the role's search_path. */
export function tableName({ schema, table }: { schema?: string | undefined; table: string }): string {
  // Quoted only where it must be, so that the script reads like one made by hand.
  const quoted = (name: string) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : escapeIdentifier(name));
  return [schema, table].flatMap((name) => (name === undefined ? [] : quoted(name))).join('.');
}

/** The program, one DO statement: frame.sql, with the parts that up.sql or down.sql has for it. */
export function program(change: Change, direction: Direction, options: Options = {}): string {
  const { deadline, ...others } = { ...policy, ignoreDependents: false, dry: 'NULL', ...options };
  const declaration = declarationOf(change, direction);
  const values: Readonly<Record<string, unknown>> = { ...others, deadline: deadline / 1000, declaration };
  // Names and sections in turn; before them is nothing, which is what a name that is not there stands for.
  const parts = read(direction).split(/^--@ (.*)\n/m);
  return read('frame')
    .replace(/^--@ (.*)\n/gm, (_, part: string) => parts[parts.indexOf(part) + 1] ?? '')
    .replace(/\{\{(\w+)\}\}/g, (_, key: string) => String(values[key]));
}

/** As JSON, a column a line. No ?, $ and :true: drivers take them for a parameter, and quotes end at the second. */
function declarationOf(change: Change, direction: Direction): string {
  const { id, after, columns, rename, before, upArchive, downArchive } = change;
  const isUp = direction === 'up';
  const json = (value: unknown) =>
    JSON.stringify(value)
      .replace(/(?<!\\)":(?=true|false)/g, '": ')
      .replace(/[?$]/g, (found) => `\\u00${found.charCodeAt(0).toString(16)}`);
  const fields: Readonly<Record<string, unknown>> = {
    id,
    table: tableName(change),
    after,
    before,
    outgoing: isUp ? upArchive : downArchive,
    incoming: isUp ? downArchive : upArchive,
    rename,
  };
  const lines = Object.entries(fields).flatMap(([key, value]) =>
    value === undefined ? [] : [`"${key}":${json(value)}`],
  );
  return `{\n${lines.join(',\n')},\n"add":[\n  ${columns.map(json).join(',\n  ')}\n]\n}`;
}

function read(file: string): string {
  return readFileSync(join(__dirname, `${file}.sql`), 'utf8').replaceAll('\r\n', '\n');
}
