import { type Direction, family } from './look';

/**
 * Paragraph 4, as common table expressions: the shape that is wanted, and `compared`, a row for each column
 * concerned: as found, as wanted, and the verdict over the two types.
 */
export function wanted(direction: Direction): string {
  return `
-- The shape that is wanted, and what fills a NULL where none may be.
wanted (place, name, type, collate_as, not_null, default_expr, fill) AS (
${direction === 'up' ? asDeclared : asBefore}
),

-- One name gives its column to the other where only the giver is there and only the taker is wanted.
handover (giver, taker) AS (
  ${
    direction === 'up'
      ? 'SELECT from_name, to_name FROM renaming\n  UNION ALL\n  SELECT aside, name FROM putting'
      : 'SELECT to_name, from_name FROM renaming'
  }
),
renamed AS (
  SELECT giver, taker FROM handover
  WHERE EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = giver)
    AND NOT EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = taker)
    AND EXISTS (SELECT 1 FROM wanted WHERE name = taker)
    AND NOT EXISTS (SELECT 1 FROM wanted WHERE name = giver)
),

-- Every column concerned. verdict: add, drop, same, widen, leave (it holds all that is wanted), narrow,
-- foreign (a type that cannot be brought to the wanted one without loss or a rewrite).
compared AS (
  SELECT coalesce(w.place, f.place, 1000) AS place, coalesce(w.name, f.name) AS name, f.name AS found_name,
         f.attnum, f.attinhcount, f.type, f.collate_as, f.not_null, f.default_expr, f.special, f.comment,
         w.type AS wanted_type, w.collate_as AS wanted_collate, w.not_null AS wanted_not_null,
         w.default_expr AS wanted_default, w.fill,
         ${short('coalesce(f.special, f.type)')} AS short_type,
         ${short('w.type')} AS wanted_short_type,
         CASE
           WHEN f.name IS NULL THEN 'add'
           WHEN w.name IS NULL THEN 'drop'
           WHEN f.special IS NOT NULL THEN 'foreign'
           WHEN f.type = w.type THEN 'same'
           WHEN f.family = 'text' AND f.family = v.family AND f.width < v.width THEN 'widen'
${
  direction === 'up'
    ? ''
    : `           WHEN f.family = 'text' AND f.family = v.family AND f.width > v.width THEN 'narrow'
           WHEN f.type IN ('text', 'json', 'jsonb') AND w.type IN ('text', 'json', 'jsonb') THEN 'leave'
`
}           WHEN f.family = v.family AND f.width >= v.width THEN 'leave'
           ELSE 'foreign'
         END AS verdict,
         f.type = w.type OR f.family = v.family AS akin, v.family AS wanted_family, v.width AS wanted_width,
         -- pg_get_expr() prints 'x' as 'x'::character varying, and -1 as '-1'::integer.
         ${plain('f.default_expr')}
         IS NOT DISTINCT FROM ${plain('w.default_expr')}
           AS same_default
  FROM wanted w
  CROSS JOIN LATERAL (${family('w.type')}) v (type, family, width)
  FULL JOIN (
    SELECT coalesce(r.taker, s.name) AS future_name, d.place, s.*
    FROM shape s LEFT JOIN renamed r ON r.giver = s.name LEFT JOIN declared d ON d.name = s.name
    WHERE s.role = 'found' AND s.name IN (SELECT name FROM concerned)
${
  direction === 'up'
    ? ''
    : `      -- Without the shape before up nothing is ours to take back.
      AND EXISTS (SELECT 1 FROM ours WHERE role = 'before' AND oid IS NOT NULL)
`
}  ) f ON f.future_name = w.name
)`;
}

/** A type as people write it. */
function short(type: string): string {
  return `replace(replace(${type},
           'character varying', 'varchar'), 'timestamp with time zone', 'timestamptz')`;
}

/** A default without its cast and quotes, NULL where there is none: 'x'::character varying is x. */
function plain(expression: string): string {
  return `btrim(regexp_replace(${expression}, '::[a-z ]+(\\([0-9,]+\\))?$', ''), '''')`;
}

const asDeclared = `\
  SELECT place, name, type, '', not_null, default_expr, default_expr FROM declared
  UNION ALL
  SELECT 1000, to_name, coalesce(taker.type, giver.type, renaming.type),
         coalesce(taker.collate_as, giver.collate_as, ''), false, NULL, NULL
  FROM renaming
  LEFT JOIN shape taker ON taker.role = 'found' AND taker.name = to_name
  LEFT JOIN shape giver ON giver.role = 'found' AND giver.name = from_name`;

const asBefore = `\
  SELECT coalesce(declared.place, 1000), b.name, b.type, b.collate_as, b.not_null, b.default_expr,
         coalesce(CASE WHEN b.type IN ('json', 'jsonb') OR b.family = 'text' AND b.width >= length(empty)
                       THEN quote_literal(empty) END,
                  b.default_expr, declared.default_expr)
  FROM shape b
  LEFT JOIN declared ON declared.name = b.name
  LEFT JOIN renaming ON b.name IN (from_name, to_name)
  WHERE b.role = 'before'`;
