import { archiveRest, counts, stays } from './archive';
import { policy } from './policy';
import { addColumn, added, inBatches } from './steps';

/**
 * Columns with many values are put aside, under names of their own: `up` renames them once they have all back, and
 * `down` does so before it archives them. What takes long is done in between, in transactions that lock a few rows
 * or none. At any time each value is in the column or in the archive; where in both, it is the same.
 */

/** Common table expression: the table, where many rows may be worked on so. */
export const batched = `\
batched AS (
  SELECT this.* FROM this CROSS JOIN batches
  WHERE batches.allowed AND this.bytes > ${policy.batchFrom} AND this.key IS NOT NULL AND NOT this.forced
    -- A subscriber would ask for columns of such names.
    AND NOT EXISTS (SELECT 1 FROM pg_replication_slots
                    WHERE slot_type = 'logical' AND database = current_database())
    AND NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')
    -- With a rule no statement in WITH may change rows.
    AND NOT EXISTS (SELECT 1 FROM pg_rewrite WHERE ev_class = this.oid)
)`;

/** For an UPDATE: the columns under these names get what the archive (a) has. */
const given = (name: string) => `string_agg(format('%I = %s', ${name}, c.value), ', ' ORDER BY c.place)`;
/** Whether the row (t) has it: a trigger may have had other ideas. */
const isBack = (name: string) => `\
string_agg(format('t.%I::text IS NOT DISTINCT FROM (%s)::text', ${name}, c.value),
                           ' AND ')`;

/** up, common table expressions: what comes back. */
export const comingBack = `\
returned AS (
  SELECT c.place, c.name, c.found_name,
         format(CASE WHEN c.wanted_not_null THEN 'coalesce(a.%1$I, %2$s)' ELSE 'a.%1$I' END,
                c.name, c.fill) AS value
  FROM compared c
  JOIN shape a ON a.role = 'down_archive' AND a.name = c.name
    AND (a.type = c.wanted_type OR a.family = c.wanted_family)
  JOIN returnable r ON r.role = a.role
  WHERE c.verdict = 'add' OR c.found_name IN (SELECT aside FROM putting)
),
-- The archive, where all its values can.
emptied AS (
  SELECT r.* FROM returnable r CROSS JOIN this
  WHERE r.role = 'down_archive'
    AND NOT EXISTS (SELECT 1 FROM shape s WHERE s.role = r.role AND NOT quote_ident(s.name) = ANY (this.key)
                      AND s.name NOT IN (SELECT name FROM returned))
),
-- Its rows whose values are in the table again.
back AS (
  SELECT o.name, o.sql_name, p.pairs, p.nothing,
         ${counts('p.pairs')}
  FROM this JOIN returnable o ON o.role = 'down_archive'
  CROSS JOIN LATERAL (
    SELECT concat(k.matches, ' AND ',
                  ${isBack('c.name')}),
           string_agg(format('%I = NULL', c.name), ', ')
    FROM returned c CROSS JOIN key_of k
    GROUP BY k.matches
  ) p (pairs, nothing)
),
-- The archive, where they are too many for once.
large AS (
  SELECT e.* FROM emptied e CROSS JOIN batched
  WHERE pg_relation_size(e.oid) > ${policy.batchFrom}
    AND NOT EXISTS (SELECT 1 FROM returned WHERE name NOT IN (SELECT name FROM putting))
)`;

export const giveBack = [
  `
  SELECT 'stage', 303, c.place, c.name,
         format('add %s as %s, until it has its values back', c.name, p.aside),
         ${addColumn('p.aside')}, NULL, NULL, NULL
  FROM large CROSS JOIN putting p CROSS JOIN ${added}
  WHERE verdict = 'add' AND p.name = c.name`,
  `
  SELECT 'batch', 304, 0, NULL,
         format('give back values from %s, ${inBatches}', o.name),
         format('WITH batch AS (SELECT a.* FROM %1$s a JOIN %2$s t ON %3$s '
                'LIMIT ${policy.batch} FOR NO KEY UPDATE OF t SKIP LOCKED), '
                'moved AS (UPDATE %2$s t SET %4$s FROM batch a WHERE %3$s RETURNING %5$s) '
                'DELETE FROM %1$s a USING moved t WHERE %3$s AND %6$s', o.sql_name, this.sql_name, k.matches,
                ${given('p.aside')},
                k.archived || string_agg(format(', t.%I', p.aside), ''),
                ${isBack('p.aside')}), NULL, NULL, NULL
  FROM large o CROSS JOIN this CROSS JOIN key_of k CROSS JOIN returned c JOIN putting p ON p.name = c.name
  GROUP BY o.name, o.sql_name, this.sql_name, k.matches, k.archived
  HAVING count(*) = count(found_name)`,
  `
  SELECT 'change', 430, 0, NULL,
         format('give back the values of %s{rows} rows from %s',
                CASE WHEN count(found_name) > 0 THEN 'the last ' END, o.name),
         format('UPDATE %s t SET %s FROM (SELECT * FROM %s) a WHERE %s',
                this.sql_name, ${given('c.name')},
                o.sql_name, k.matches), NULL, NULL, NULL
  FROM returned c CROSS JOIN this CROSS JOIN key_of k JOIN returnable o ON o.role = 'down_archive'
  GROUP BY this.sql_name, o.name, o.sql_name, k.matches`,
  `
  -- What is back must not come back once more, when it has been spent.
  SELECT 'change', 435, 0, NULL, format('clear {rows} rows of %s, whose values are back', o.name),
         CASE WHEN e.name IS NULL THEN format('UPDATE %s a SET %s FROM %s t WHERE %s',
                                              o.sql_name, o.nothing, this.sql_name, o.pairs)
              ELSE format('DELETE FROM %s a USING %s t WHERE %s', o.sql_name, this.sql_name, o.pairs) END,
         CASE WHEN e.name IS NOT NULL THEN format('SELECT %s NOT IN (0, %s)', rows_back, rows_kept) END,
         NULL, NULL
  FROM back o CROSS JOIN this LEFT JOIN emptied e ON true`,
  `
  SELECT 'change', 440, 0, NULL, format('drop %s: all its values are back', o.name),
         format('DROP TABLE %s', o.sql_name), format('SELECT %s = %s', rows_back, rows_kept),
         ${stays}, NULL
  FROM back o JOIN emptied e ON true`,
];

/** down, common table expressions: the columns that go, and what becomes of their values. */
export const goingAway = `\
going AS (
  SELECT coalesce(d.place, c.place) AS place, c.found_name, c.type, coalesce(was.name, c.found_name) AS name,
         was.name IS NOT NULL AS is_aside, p.aside,
         -- A value is what is not the default with which up would add the column again. As text where the type
         -- is another by now, or has no operator of its own.
         format(CASE WHEN d.default_expr IS NULL THEN '%1$I IS NOT NULL'
                     WHEN c.type = d.type AND c.type !~ '^(json$|character)' THEN '%1$I IS DISTINCT FROM %2$s'
                     ELSE '%1$I::text IS DISTINCT FROM (%2$s)::text' END, found_name, d.default_expr) AS holds
  FROM compared c
  LEFT JOIN putting was ON was.aside = c.found_name
  LEFT JOIN putting p ON p.name = c.found_name
  LEFT JOIN declared d ON d.name = coalesce(was.name, c.found_name)
  WHERE c.verdict = 'drop'
),
archiving AS (
  SELECT string_agg(quote_ident(name), ', ' ORDER BY place, name) AS columns,
         string_agg(concat(quote_ident(found_name), CASE WHEN is_aside THEN ' AS ' || quote_ident(name) END),
                    ', ' ORDER BY place, name) AS taken,
         string_agg(holds, ' OR ' ORDER BY place, name) AS holds,
         CASE WHEN bool_or(is_aside)
                AND EXISTS (SELECT 1 FROM returnable WHERE role = 'down_archive')
                AND NOT EXISTS (SELECT 1 FROM going g WHERE (g.name, g.type) NOT IN
                                  (SELECT a.name, a.type FROM shape a WHERE a.role = 'down_archive'))
              THEN 'continued'
              WHEN bool_and(aside IS NOT NULL) AND EXISTS (SELECT 1 FROM batched)
                AND NOT EXISTS (SELECT 1 FROM shape WHERE role = 'down_archive')
              THEN 'begun'
              ELSE 'at once' END AS way
  FROM going
  HAVING count(*) > 0
)`;

export const putAside = [
  `
  -- At one go: it locks no row.
  SELECT 'batch', 304, 0, NULL,
         format('archive {rows} rows with values of %s in %s, while everybody works on', a.columns, o.name),
         format(${archiveRest},
                o.sql_name, k.columns, a.columns, a.taken, this.sql_name, a.holds, k.matches),
         NULL, NULL, NULL
  FROM archiving a CROSS JOIN batched this CROSS JOIN key_of k JOIN ours o ON o.role = 'down_archive'
  WHERE a.way = 'continued'`,
  `
  SELECT 'change', 411, g.place, g.name, format('put %s aside as %s', g.name, g.aside),
         format('ALTER TABLE %s RENAME COLUMN %I TO %I', this.sql_name, g.name, g.aside), NULL, NULL, NULL
  FROM going g CROSS JOIN archiving CROSS JOIN this WHERE way = 'begun'`,
  `
  SELECT 'change', 441, 0, NULL, format('drop %s: there was no value', o.name),
         format('DROP TABLE %s', o.sql_name), format('SELECT NOT EXISTS (SELECT 1 FROM %s)', o.sql_name),
         NULL, NULL
  FROM archiving CROSS JOIN ours o WHERE way = 'continued' AND o.role = 'down_archive'`,
  `
  -- The values are archived in transactions of their own.
  SELECT 'again', 495, 0, NULL, 'archive and drop what is put aside', NULL, NULL, NULL, NULL
  FROM archiving WHERE way = 'begun'`,
];
