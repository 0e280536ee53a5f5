import type { Change } from '../declaration';
import type { Direction } from './look';
import { tableOid } from './table';
import { literal } from './text';

/**
 * What has become of the columns concerned: rows (column_name, type, nullable, default_value, what_was_done),
 * read from the catalog and from the shape that was written down before. It compares two shapes and remembers
 * nothing, so it is right after a second run, too, and after one that was refused.
 *
 * A plain query for any client, under any search_path: functions are qualified, and operators find their very
 * types in pg_catalog, so that nobody else's can be meant.
 */
export function report(change: Change, direction: Direction, table = tableOid(change)): string {
  const { columns, rename } = change;
  const names = [...columns.map(({ name }) => name), ...(rename ? [rename.to] : [])];
  if (rename && direction === 'down') names.push(rename.from);
  return `
WITH concerned (place, name) AS (
  VALUES
${names.map((name, i) => `    (${i + 1}, ${literal(name)}::pg_catalog.name)`).join(',\n')}
),
relation (role, oid) AS (
  SELECT 'now', ${table}
  UNION ALL
  SELECT 'before', b.oid
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class b ON b.relnamespace = c.relnamespace
  WHERE c.oid = ${table} AND b.relname = ${literal(change.before)}
),
shape (role, name, type, not_null, default_value) AS (
  SELECT r.role, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
         pg_catalog.pg_get_expr(d.adbin, d.adrelid)
  FROM relation r
  JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
)
SELECT concerned.name AS column_name,
       now.type,
       CASE WHEN now.not_null THEN 'no' WHEN NOT now.not_null THEN 'yes' END AS nullable,
       now.default_value,
       ${direction === 'up' ? doneByUp(change) : doneByDown(change)} AS what_was_done
FROM concerned
LEFT JOIN shape now ON now.role = 'now' AND now.name = concerned.name
LEFT JOIN shape was ON was.role = 'before' AND was.name = concerned.name
LEFT JOIN shape old ON old.role = 'before' AND old.name = ${literal(rename?.from)} AND concerned.name = ${literal(rename?.to)}
LEFT JOIN relation before ON before.role = 'before'
ORDER BY concerned.place`;
}

function doneByUp({ rename }: Change): string {
  return `CASE
         WHEN now.type IS NULL THEN 'missing'
         WHEN before.oid IS NULL THEN 'as it was'
         WHEN was.type IS NULL AND old.type IS NULL THEN 'added'
         ELSE coalesce(nullif(pg_catalog.concat_ws(', ',
           CASE WHEN was.type IS NULL THEN ${literal(`renamed from ${rename?.from}`)}
                WHEN old.type IS NOT NULL THEN ${literal(`took what ${rename?.from} held, which is gone`)} END,
           'type changed from ' || nullif(coalesce(was.type, old.type), now.type),
           CASE WHEN coalesce(was.not_null, old.not_null) AND NOT now.not_null THEN 'made nullable'
                WHEN now.not_null AND NOT coalesce(was.not_null, old.not_null) THEN 'made NOT NULL' END,
           CASE WHEN now.default_value IS DISTINCT FROM
                     CASE WHEN was.type IS NULL THEN old.default_value ELSE was.default_value END
                THEN CASE WHEN now.default_value IS NULL THEN 'default dropped' ELSE 'default set' END END),
           ''), 'as it was')
       END`;
}

function doneByDown({ rename }: Change): string {
  return `CASE
         WHEN before.oid IS NOT NULL THEN 'not taken back'
         WHEN now.type IS NOT NULL THEN 'stays (this change did not add it)'
         WHEN concerned.name = ${literal(rename?.to)}
              AND EXISTS (SELECT 1 FROM shape s WHERE s.role = 'now' AND s.name = ${literal(rename?.from)})
         THEN ${literal(`under its old name, ${rename?.from}`)}
         ELSE 'not there (removed, or never added)'
       END`;
}
