import { policy } from './policy';
import { addColumn, added, inBatches } from './steps';

/**
 * up: columns that are added take back the values that `down` archived. Many of them take theirs before the lock of
 * the change, under names of their own, so many rows at a time: each batch is a transaction that locks its rows,
 * waits for nobody's, and takes from the archive what it gives to the table.
 */

/** Common table expressions: what can come back. */
export const comingBack = `\
returned AS (
  SELECT c.place, c.name, c.found_name, c.fill, c.wanted_not_null
  FROM compared c
  JOIN shape a ON a.role = 'down_archive' AND a.name = c.name
    AND (a.type = c.wanted_type OR a.family = c.wanted_family)
  JOIN returnable r ON r.role = a.role
  WHERE c.verdict = 'add' OR c.found_name IN (SELECT staged FROM staging)
),
-- The archive, where all its values can.
emptied AS (
  SELECT r.* FROM returnable r CROSS JOIN this
  WHERE r.role = 'down_archive'
    AND NOT EXISTS (SELECT 1 FROM shape s WHERE s.role = r.role AND NOT quote_ident(s.name) = ANY (this.key)
                      AND s.name NOT IN (SELECT name FROM returned))
),
-- The archive, where they do in batches. Not where a subscriber would ask for a column of such a name.
aside AS (
  SELECT e.* FROM emptied e CROSS JOIN this CROSS JOIN batches
  WHERE batches.allowed AND pg_relation_size(e.oid) > ${policy.batchFrom} AND NOT this.forced
    AND NOT EXISTS (SELECT 1 FROM returned WHERE name NOT IN (SELECT name FROM staging))
    AND NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')
    AND NOT EXISTS (SELECT 1 FROM pg_replication_slots
                    WHERE slot_type = 'logical' AND database = current_database())
)`;

/** For an UPDATE: the columns under these names get what the archive (a) has. */
const given = (name: string) => `\
string_agg(
           format(CASE WHEN wanted_not_null THEN '%1$I = coalesce(a.%2$I, %3$s)' ELSE '%1$I = a.%2$I' END,
                  ${name}, c.name, fill), ', ' ORDER BY c.place)`;

export const giveBack = [
  `
  SELECT 'conflict', 155, c.place, c.found_name,
         format('%s is there beside %s, and may hold values on their way back', d.staged, d.name),
         NULL, NULL, NULL,
         format('Look into both. Where all that is needed is in %s: ALTER TABLE %s DROP COLUMN %I; '
                'then run this again.', d.name, this.sql_name, d.staged)
  FROM compared c JOIN staging d ON d.staged = c.found_name CROSS JOIN this WHERE c.verdict = 'drop'`,
  `
  SELECT 'stage', 303, c.place, c.name,
         format('add %s as %s, until it has its values back', c.name, d.staged),
         ${addColumn('d.staged')}, NULL, NULL, NULL
  FROM aside CROSS JOIN staging d CROSS JOIN ${added} AND d.name = c.name`,
  `
  SELECT 'batch', 304, 0, NULL,
         format('give back values from %s, ${inBatches}', o.name),
         format('WITH batch AS (SELECT a.* FROM %1$s a JOIN %2$s t ON %3$s '
                'LIMIT ${policy.batch} FOR NO KEY UPDATE OF t SKIP LOCKED), '
                'moved AS (UPDATE %2$s t SET %4$s FROM batch a WHERE %3$s RETURNING %5$s) '
                'DELETE FROM %1$s a USING moved t WHERE %3$s', o.sql_name, this.sql_name, k.matches,
                ${given('s.staged')}, k.archived), NULL, NULL, NULL
  FROM aside o CROSS JOIN this CROSS JOIN key_of k CROSS JOIN returned c JOIN staging s ON s.name = c.name
  GROUP BY o.name, o.sql_name, this.sql_name, k.matches, k.archived
  HAVING count(*) = count(found_name)`,
  `
  SELECT 'change', 430, 0, NULL,
         format('give back the values of %s{rows} rows from %s',
                CASE WHEN count(found_name) > 0 THEN 'the last ' END, o.name),
         format('UPDATE %s t SET %s FROM (SELECT * FROM %s) a WHERE %s',
                this.sql_name, ${given('c.name')}, o.sql_name, k.matches), NULL, NULL, NULL
  FROM returned c CROSS JOIN this CROSS JOIN key_of k JOIN returnable o ON o.role = 'down_archive'
  GROUP BY this.sql_name, o.name, o.sql_name, k.matches`,
  `
  -- $1: the number of rows that the step before gave back.
  SELECT 'change', 440, 0, NULL, format('drop %s: all its values are back', o.name),
         format('DROP TABLE %s', o.sql_name), format('SELECT count(*) = $1 FROM %s', o.sql_name),
         format('%s stays: it holds values of rows that are gone. Look into it, then drop it', o.name), NULL
  FROM emptied o`,
];
