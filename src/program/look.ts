import type { Change } from '../declaration';
import { literal } from './text';

/** Which way: `up` makes the change, `down` takes it back. */
export type Direction = 'up' | 'down';

/**
 * The oid of the table, in every query of the program; NULL where it is missing. A setting of the transaction and
 * no parameter, because the server makes a plan once for a query without parameters: the check, under the lock,
 * then costs a fifth. In psql: SELECT set_config('table_change.target', 'user_profiles'::regclass::oid::text, false);
 */
export const target = `nullif(current_setting('table_change.target'), '')::oid`;

/** The table and everything below it (partitions, inheritance children), with its depth. */
export const tree = `tree (oid, depth) AS (
  SELECT ${target}, 0
  UNION ALL
  SELECT i.inhrelid, t.depth + 1 FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
)`;

/** The declared columns, one a line. */
function declaredRows({ columns }: Change): string {
  if (columns.length === 0) return 'SELECT 0, NULL::text, NULL::text, false, NULL::text WHERE false';
  const rows = columns.map((column, i) => {
    const { name, type, notNull, default: expression } = column;
    return `    (${[i + 1, literal(name), literal(type), notNull, `${literal(expression)}::text`].join(', ')})`;
  });
  return `VALUES\n${rows.join(',\n')}`;
}

/**
 * Paragraph 3, as common table expressions: the declaration (`declared`, `renaming`, `concerned`), the table (`this`) and
 * the shape of its columns as found, before `up`, and in the archives (`shape`).
 */
export function look(change: Change): string {
  const { rename } = change;
  const renaming = rename
    ? `VALUES (${[rename.from, rename.to, rename.type, rename.moveWhere, rename.empty].map(literal).join(', ')})`
    : 'SELECT NULL::text, NULL::text, NULL::text, NULL::text, NULL::text WHERE false';
  return `
-- What is declared: the columns to add, and the one to rename.
declared (place, name, type, not_null, default_expr) AS (
  ${declaredRows(change)}
),
renaming (from_name, to_name, type, move_where, empty) AS (
  ${renaming}
),
-- What a column is called while it is put aside, its values on their way to or from the archive, and the
-- application must not see it. A name has 63 bytes.
putting (name, aside) AS (
  SELECT * FROM (SELECT name, name || ${literal(change.asideSuffix)} FROM declared) p (name, aside)
  WHERE octet_length(aside) <= 63
),
concerned (name) AS (
  SELECT name FROM declared
  UNION ALL
  SELECT aside FROM putting
  UNION ALL
  SELECT unnest(ARRAY[from_name, to_name]) FROM renaming
),

-- The table. Its key: the primary key, which inheritance (unlike partitioning) does not extend to children.
this AS (
  SELECT c.oid, n.nspname AS schema, format('%I.%I', n.nspname, c.relname) AS sql_name,
         o.rolname AS owner, c.relforcerowsecurity AND NOT (me.rolsuper OR me.rolbypassrls) AS forced,
         size.bytes, size.total, size.relations,
         (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum)
          FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
          WHERE k.conrelid = c.oid AND k.contype = 'p' -- conkey leaves out what the index includes besides
            AND (c.relkind = 'p' OR NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhparent = c.oid))) AS key,
         (SELECT max(a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid) AS last_attnum
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_roles o ON o.oid = c.relowner
  JOIN pg_roles me ON me.rolname = current_user
  CROSS JOIN (SELECT sum(pg_relation_size(oid)) AS bytes, sum(pg_total_relation_size(oid)) AS total,
                     count(*) AS relations FROM tree) size
  WHERE c.oid = ${target}
),

-- Our own tables beside it, where they exist: the shape before up, and the values that each way put aside.
ours AS (
  SELECT r.role, format('%I.%I', this.schema, r.name) AS sql_name, r.name, c.oid
  FROM this
  CROSS JOIN (VALUES
    ('before', ${literal(change.before)}),
    ('up_archive', ${literal(change.upArchive)}),
    ('down_archive', ${literal(change.downArchive)})
  ) r (role, name)
  LEFT JOIN pg_namespace n ON n.nspname = this.schema
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = r.name
),

-- The shape of every column of these tables. attidentity and attgenerated are read through to_jsonb,
-- because older catalogs lack them. not_null: NULL where it was never proved (18), and holds for new values only.
shape AS (
  SELECT s.role, a.attname::text AS name, a.attnum, a.attinhcount, t.type, t.family, t.width,
         coalesce((SELECT format(' COLLATE %I.%I', n.nspname, l.collname)
                   FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                   JOIN pg_type y ON y.oid = a.atttypid
                   WHERE l.oid = a.attcollation AND a.attcollation <> y.typcollation), '') AS collate_as,
         CASE WHEN NOT EXISTS (
           SELECT 1 FROM pg_constraint k
           WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated
         ) THEN a.attnotnull END AS not_null,
         pg_get_expr(d.adbin, d.adrelid) AS default_expr,
         CASE WHEN to_jsonb(a) ->> 'attgenerated' IN ('s', 'v') THEN 'a generated column'
              WHEN to_jsonb(a) ->> 'attidentity' IN ('a', 'd') THEN 'an identity column' END AS special,
         col_description(a.attrelid, a.attnum) AS comment
  FROM (SELECT 'found' AS role, oid FROM this UNION ALL SELECT role, oid FROM ours) s
  JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  CROSS JOIN LATERAL (SELECT format_type(a.atttypid, a.atttypmod)) f (type)
  CROSS JOIN LATERAL (${family('f.type')}) t (type, family, width)
)`;
}

/**
 * Which types hold each other's values: within a family, what is wider holds everything that is narrower.
 * varchar without a length and text are equally wide.
 */
export function family(type: string): string {
  return `
    SELECT ${type},
           CASE WHEN ${type} = 'text' OR ${type} ~ '^character varying(\\([0-9]+\\))?$' THEN 'text'
                WHEN ${type} IN ('smallint', 'integer', 'bigint') THEN 'integer' END,
           CASE WHEN ${type} ~ '^character varying\\([0-9]+\\)$' THEN substring(${type} FROM '[0-9]+')::integer
                WHEN ${type} IN ('text', 'character varying') THEN 2147483647
                WHEN ${type} = 'smallint' THEN 2
                WHEN ${type} = 'integer' THEN 4
                WHEN ${type} = 'bigint' THEN 8 END
  `;
}
