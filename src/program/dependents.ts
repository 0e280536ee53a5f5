/**
 * What else in the database names a column that changes. pg_depend knows what would stop the change or be
 * dropped along with a column; the text of functions has to be read for the rest.
 */
export const dependents = `
-- Objects that depend on a column: along means that DROP COLUMN takes them along without a word.
dependent AS (
  SELECT d.refobjsubid AS attnum, d.objid, pg_describe_object(d.classid, d.objid, d.objsubid) AS what,
         d.classid::regclass::text AS catalog, bool_or(d.deptype IN ('a', 'i')) AS along
  FROM pg_depend d CROSS JOIN this
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = this.oid AND d.refobjsubid > 0
    AND NOT EXISTS (SELECT 1 FROM pg_attrdef e
                    WHERE d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid AND e.adrelid = this.oid AND e.adnum = d.refobjsubid)
  GROUP BY d.refobjsubid, d.classid, d.objid, d.objsubid
),
blocker AS (
  SELECT c.name, c.found_name, c.place, c.verdict, string_agg(d.what, ', ' ORDER BY d.what) AS what
  FROM compared c JOIN dependent d ON d.attnum = c.attnum
  WHERE CASE c.verdict
          WHEN 'drop' THEN NOT d.along
          ELSE d.catalog IN ('pg_rewrite', 'pg_policy', 'pg_trigger', 'pg_attrdef', 'pg_proc', 'pg_publication_rel')
        END
  GROUP BY c.name, c.found_name, c.place, c.verdict
)`;

export const dependentRules = [
  `
  SELECT 'conflict', 170, place, name,
         CASE verdict WHEN 'drop' THEN format('%s cannot be dropped: it is used by %s', found_name, what)
                      ELSE format('the type of %s cannot be changed: it is used by %s', found_name, what) END AS words,
         NULL::text, NULL::text, NULL::text,
         'Drop what uses it, run this again, and create it anew.'
  FROM blocker WHERE verdict IN ('drop', 'widen')`,
  `
  SELECT 'warning', 200, c.place, c.name, format('%s is dropped along with %s', d.what, c.found_name), NULL, NULL, NULL,
         'Keep its definition if you want it back.'
  FROM compared c JOIN dependent d ON d.attnum = c.attnum
  WHERE c.verdict = 'drop' AND d.along
    -- From 18 a NOT NULL is a constraint of its own.
    AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE d.catalog = 'pg_constraint' AND k.oid = d.objid AND k.contype = 'n')`,
];
