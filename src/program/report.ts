import type { Change } from '../declaration';
import { tableOid } from './table';
import { literal } from './text';

/**
 * What has become of the declared columns: one row a column (column_name, type, nullable, default_value,
 * what_was_done), read from the catalog and from the shape that was written down before. A plain query for
 * any client, with the table looked up on the role's search_path.
 */
export function report(change: Change, table = tableOid(change)): string {
  const names = [
    ...change.columns.map((column) => column.name),
    ...(change.rename ? [change.rename.to] : []),
  ];
  return `
SELECT declared.name AS column_name,
       coalesce(now.type, 'missing') AS type,
       CASE WHEN now.not_null THEN 'no' WHEN NOT now.not_null THEN 'yes' END AS nullable,
       now.default_value,
       CASE WHEN now.type IS NULL THEN 'missing'
            WHEN before.oid IS NULL THEN 'it was there already'
            WHEN was.type IS NULL AND declared.name = ${literal(change.rename?.to)}
              AND renamed.type IS NOT NULL THEN ${literal(`renamed from ${change.rename?.from}`)}
            WHEN was.type IS NULL THEN 'added'
            ELSE coalesce(nullif(concat_ws(', ',
              CASE WHEN was.type <> now.type THEN 'widened from ' || was.type END,
              CASE WHEN was.not_null AND NOT now.not_null THEN 'made nullable' WHEN now.not_null AND NOT was.not_null THEN 'made NOT NULL' END,
              CASE WHEN was.default_value IS DISTINCT FROM now.default_value
                   THEN 'default set (was ' || coalesce(was.default_value, 'none') || ')' END), ''),
              'it was there already')
       END AS what_was_done
FROM (VALUES
${names.map((name, i) => `  (${i + 1}, ${literal(name)})`).join(',\n')}
) AS declared (place, name)
LEFT JOIN pg_catalog.pg_class c ON c.oid = ${table}
LEFT JOIN pg_catalog.pg_class before ON before.relnamespace = c.relnamespace AND before.relname = ${literal(change.before)}
LEFT JOIN LATERAL (${shapeOf('c.oid', 'declared.name')}) AS now ON true
LEFT JOIN LATERAL (${shapeOf('before.oid', 'declared.name')}) AS was ON true
LEFT JOIN LATERAL (${shapeOf('before.oid', literal(change.rename?.from))}) AS renamed ON true
ORDER BY declared.place`;
}

function shapeOf(relation: string, column: string): string {
  return `
  SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
         pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default_value
  FROM pg_catalog.pg_attribute a
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = ${relation} AND a.attname = ${column} AND NOT a.attisdropped
`;
}
