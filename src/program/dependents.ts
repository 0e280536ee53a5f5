import { policy } from './policy';

/**
 * What else in the database names a column that changes. pg_depend knows what would stop the change or go with
 * a dropped column ("Dependency Tracking" in the PostgreSQL manual); a function body is text to it.
 */
export const dependents = `
-- Objects that depend on a column that changes its type or goes, with the first line of their definition.
-- along: DROP COLUMN takes them along.
dependent AS (
  SELECT d.attnum, d.catalog, d.objid, d.along,
         coalesce(v.what, d.what) || coalesce(': ' || left(split_part(btrim(CASE d.catalog
           WHEN 'pg_rewrite' THEN coalesce(v.definition, pg_get_ruledef(d.objid))
           WHEN 'pg_trigger' THEN pg_get_triggerdef(d.objid)
           WHEN 'pg_constraint' THEN pg_get_constraintdef(d.objid)
           WHEN 'pg_class' THEN CASE WHEN d.objsubid = 0 THEN pg_get_indexdef(d.objid) END
         END), chr(10), 1), 80), '') AS what
  FROM (
    SELECT d.refobjsubid AS attnum, d.classid::regclass::text AS catalog, d.objid, d.objsubid,
           pg_describe_object(d.classid, d.objid, d.objsubid) AS what, bool_or(d.deptype IN ('a', 'i')) AS along
    FROM pg_depend d CROSS JOIN this
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = this.oid
      AND d.refobjsubid IN (SELECT attnum FROM compared WHERE verdict IN ('drop', 'widen', 'narrow'))
    GROUP BY d.refobjsubid, d.classid, d.objid, d.objsubid
  ) d
  LEFT JOIN LATERAL (
    SELECT pg_describe_object('pg_class'::regclass, w.ev_class, 0) AS what,
           pg_get_viewdef(w.ev_class) AS definition
    FROM pg_rewrite w WHERE d.catalog = 'pg_rewrite' AND w.oid = d.objid AND w.rulename = '_RETURN'
  ) v ON true
  -- A column's own default is no dependent, nor is (from 18) its own NOT NULL.
  WHERE NOT EXISTS (SELECT 1 FROM pg_attrdef e
                    WHERE d.catalog = 'pg_attrdef' AND e.oid = d.objid AND e.adnum = d.attnum)
    AND NOT EXISTS (SELECT 1 FROM pg_constraint k
                    WHERE d.catalog = 'pg_constraint' AND k.oid = d.objid AND k.contype = 'n')
),
blocker AS (
  SELECT c.name, c.found_name, c.place, c.verdict, string_agg(d.what, '; ' ORDER BY d.what) AS what
  FROM compared c JOIN dependent d ON d.attnum = c.attnum
  WHERE CASE c.verdict
          WHEN 'drop' THEN NOT d.along
          -- A generated column is a part of pg_class, an index is not; indexes survive.
          ELSE d.catalog IN ('pg_rewrite', 'pg_policy', 'pg_trigger', 'pg_attrdef', 'pg_proc',
                             'pg_publication_rel')
            OR d.what LIKE 'column %'
        END
  GROUP BY c.name, c.found_name, c.place, c.verdict
),

-- Functions whose text has the name of a column that goes, and what they are to the table: fatal where the
-- function is a trigger's and takes the column out of the row, which fails at every write.
reading AS (
  SELECT DISTINCT g.place, g.name, p.oid::regprocedure::text AS what, t.oid IS NOT NULL AS by_trigger,
         t.oid IS NOT NULL AND p.prosrc ~* ('\\m(new|old)\\s*\\.\\s*"?' || g.pattern) AS fatal,
         left(btrim((SELECT l FROM unnest(string_to_array(p.prosrc, chr(10))) l
                     WHERE l ~* ('\\m' || g.pattern) LIMIT 1)), 80) AS line
  FROM (SELECT c.place, c.found_name AS name, regexp_replace(c.found_name, '(\\W)', '\\\\\\1', 'g') || '\\M' AS pattern
        FROM compared c WHERE c.verdict = 'drop' OR c.found_name IN (SELECT giver FROM renamed)) g
  JOIN pg_proc p ON p.prosrc ~* ('\\m' || g.pattern)
  JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
  JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  LEFT JOIN pg_trigger t ON t.tgfoid = p.oid AND t.tgrelid IN (SELECT oid FROM tree) AND t.tgenabled <> 'D'
)`;

export const dependentRules = [
  `
  SELECT 'conflict', 170, place, name,
         format('%s %s: it is used by %s', found_name,
                CASE verdict WHEN 'drop' THEN 'cannot be dropped' ELSE 'cannot change its type' END,
                what) AS words,
         NULL::text, NULL::text, NULL::text,
         'Drop what uses it, run this again, and create it anew.'
  FROM blocker WHERE verdict IN ('drop', 'widen')`,
  `
  SELECT CASE WHEN ignoring.dependents THEN 'warning' ELSE 'conflict' END, 175, place, name,
         format('the trigger function %s reads %s from the row, so that every write would fail: %s',
                what, name, line),
         NULL, NULL, NULL,
         CASE WHEN ignoring.dependents THEN 'Ignored, as you wish.'
              ELSE 'Make it read the row by to_jsonb(NEW) -> ..., under both names, and run this again; '
                   'or go on knowingly: MIGRATION_IGNORE_DEPENDENTS=1, in the script ignoring (dependents).' END
  FROM reading CROSS JOIN ignoring WHERE fatal`,
  `
  SELECT 'warning', 200, place, name,
         format(CASE WHEN by_trigger THEN 'the trigger function %s has %s in its text, '
                                          'and may find nothing under that name from now on: %s'
                     ELSE 'the function %s has %s in its text, and may fail when it is called: %s' END,
                what, name, line),
         NULL, NULL, NULL, NULL
  FROM reading WHERE NOT fatal`,
  `
  SELECT 'warning', 201, c.place, c.name, format('with %s goes %s', c.found_name, d.what), NULL, NULL, NULL,
         'The way back does not make it anew.'
  FROM compared c JOIN dependent d ON d.attnum = c.attnum
  WHERE c.verdict = 'drop' AND d.along`,
  `
  SELECT 'warning', 201, c.place, c.name,
         format('%s is gone through while everybody waits, as %s is widened: %s', d.what, c.name,
                pg_size_pretty(this.bytes)), NULL, NULL, NULL,
         'Drop it at a quiet hour and make it anew afterwards, or do all of it then.'
  FROM compared c CROSS JOIN this JOIN dependent d ON d.attnum = c.attnum
  WHERE c.verdict = 'widen' AND this.bytes > ${policy.rewriteLimit}
    -- A CHECK, or an index that is no plain one.
    AND (d.catalog = 'pg_constraint' AND d.what ~ 'CHECK'
         OR d.objid IN (SELECT indexrelid FROM pg_index WHERE indpred IS NOT NULL OR indexprs IS NOT NULL))`,
  `
  SELECT 'warning', 202, 0, NULL, pg_describe_object(d.classid, d.objid, d.objsubid), NULL, NULL, NULL,
         'A subscriber without the columns stops at the next write, and goes on once it has them: '
         'migrate this server first, then the subscribers at once.'
  FROM pg_depend d CROSS JOIN this
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = this.oid AND d.refobjsubid = 0
    AND d.classid::regclass::text = 'pg_publication_rel'
    AND EXISTS (SELECT 1 FROM compared WHERE verdict IN ('add', 'drop'))`,
  `
  SELECT 'warning', 203, 0, NULL, format('the logical replication slot %s decodes this database', slot_name),
         NULL, NULL, NULL,
         'If the table is published to it: migrate this server first, then the subscribers at once. '
         'FOR ALL TABLES publishes the tables that are kept beside it, too: they need them.'
  FROM pg_replication_slots
  WHERE slot_type = 'logical' AND database = current_database()
    AND EXISTS (SELECT 1 FROM compared WHERE verdict IN ('add', 'drop'))`,
  `
  -- By query_to_xml, because servers before 10 have no such catalog.
  SELECT 'warning', 204, 0, NULL, 'the table is fed by a subscription', NULL, NULL, NULL,
         'Migrate the server that publishes first, then this one at once.'
  FROM this
  WHERE to_regclass('pg_catalog.pg_subscription_rel') IS NOT NULL
    AND query_to_xml(format('SELECT 1 FROM pg_catalog.pg_subscription_rel WHERE srrelid = %s', this.oid),
                     false, false, '')::text LIKE '%<row%'
    AND EXISTS (SELECT 1 FROM compared WHERE verdict IN ('add', 'drop'))`,
];
