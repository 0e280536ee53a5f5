import { UserError } from './user-error';

/** A column that the change adds. */
export interface Column {
  /** A type's name as PostgreSQL knows it, for example `varchar(255)` or `timestamptz`. */
  readonly type: string;
  /** Wanted NOT NULL. Needs a default: it fills the rows that are there. */
  readonly notNull?: boolean;
  /** The default in the words in which the server prints it (`\\d`): `0`, `false`, `'x'`, `now()`, `CURRENT_TIMESTAMP`. */
  readonly default?: string;
}

/** A column that gets another name and keeps its type. It is nullable afterwards and has no default. */
export interface Rename {
  readonly from: string;
  readonly to: string;
  /** The type of `to` where neither name exists yet. */
  readonly type: string;
  /**
   * A boolean column of the table. Where both names exist, a value of `from` moves into `to` only in rows in
   * which that is NULL and this one true; every other value goes to the archive.
   */
  readonly moveWhere: string;
  /** The value that means "none", as text: what `from` gets on the way back where there is none. */
  readonly empty: string;
}

/** One change to one table. */
export interface Declaration {
  /** Marks the tables that the change keeps beside the table: `<table>_<id>_before` and so on. */
  readonly id: string;
  readonly table: string;
  /** Where the table is; without it, what the name resolves to on the role's search_path. */
  readonly schema?: string;
  /** What goes wrong without the change, for the reader of the script. */
  readonly why?: string;
  /** What must have happened before, said where the table is missing. */
  readonly after?: string;
  /**
   * The migration's name, for what `plan` and `verify` say of Knex's record; where another project may give it another
   * number or date, `endsWith` is the part that stays.
   */
  readonly knex?: { readonly migration: string; readonly endsWith?: string };
  /** The application's own migration that says the same; `verify` tells when Django has not recorded it. */
  readonly django?: { readonly app: string; readonly migration: string };
  readonly add: Readonly<Record<string, Column>>;
  readonly rename?: Rename;
}

/** A declaration that has been checked. */
export type Change = Readonly<ReturnType<typeof checked>>;

// What people write, where format_type() prints another name (PostgreSQL manual, "Data Types", table 8.1).
const SYNONYMS: Readonly<Record<string, string>> = {
  bool: 'boolean',
  int: 'integer',
  varchar: 'character varying',
  timestamptz: 'timestamp with time zone',
  timestamp: 'timestamp without time zone',
};
const TYPES =
  'boolean, smallint, integer, bigint, numeric, double precision, text, character varying, json, jsonb, uuid, inet, ' +
  'bytea, date, timestamp with time zone, timestamp without time zone';

/** `varchar(255)` to `character varying(255)`; undefined for a type that is not known here. */
function canonicalType(written: string): string | undefined {
  const [, name = '', length, scale] = /^([a-z ]+?) *(?:\(([0-9]+)(?:, *([0-9]+))?\))?$/.exec(written) ?? [];
  const canonical = SYNONYMS[name] ?? name;
  if (!TYPES.split(', ').includes(canonical)) return undefined;
  if (length === undefined) return canonical;
  if (canonical === 'numeric') return `numeric(${length},${scale ?? 0})`;
  return canonical === 'character varying' && scale === undefined ? `${canonical}(${length})` : undefined;
}

/**
 * Checks a declaration when it is loaded.
 *
 * @throws UserError with everything that is wrong in it, a line each.
 */
export function checked({ add, ...rest }: Declaration) {
  const { id, table, rename, knex } = rest;
  const mistakes: string[] = [];
  const names = [...Object.keys(add), ...(rename ? [rename.from, rename.to] : [])];

  if (!/^[0-9a-z_]+$/.test(id)) mistakes.push(`id "${id}": digits, small letters and _ only`);
  if (names.length === 0) mistakes.push('nothing is declared: give add, rename or both');
  for (const name of [...names, table, `${table}_${id}_down_archive`]) {
    const bytes = Buffer.byteLength(name);
    // PostgreSQL cuts a longer name without a word (NAMEDATALEN, "Identifiers and Key Words" in its manual).
    if (bytes < 1 || bytes > 63) mistakes.push(`the name "${name}" has ${bytes} bytes: 1 to 63 are possible`);
  }
  for (const name of new Set(names.filter((name, i) => names.indexOf(name) !== i)))
    mistakes.push(`"${name}" is declared twice: a column is either added or renamed, once`);
  if (rename && names.includes(rename.moveWhere))
    mistakes.push(`moveWhere "${rename.moveWhere}" is part of the change itself: name a column that stays`);
  if (knex && !(knex.endsWith ?? knex.migration))
    mistakes.push('knex.endsWith, or knex.migration, is empty: every migration ends like that');

  const columns = Object.entries(add).map(([name, { type: written, notNull = false, default: value }]) => {
    const type = canonicalType(written);
    if (!type) mistakes.push(`"${name}" has the unknown type "${written}": known are ${TYPES}`);
    if (notNull && value === undefined)
      mistakes.push(`"${name}" is NOT NULL without a default: the rows that are there would have no value`);
    return { name, type: type ?? written, notNull, default: value };
  });
  if (rename && !canonicalType(rename.type))
    mistakes.push(`"${rename.to}" has the unknown type "${rename.type}"`);

  if (mistakes.length > 0)
    throw new UserError([`The change ${id} to ${table} is declared wrongly:`, ...mistakes].join('\n- '));
  return {
    ...rest,
    columns,
    // The tables of ours beside the changed one.
    before: `${table}_${id}_before`,
    upArchive: `${table}_${id}_up_archive`,
    downArchive: `${table}_${id}_down_archive`,
  };
}
