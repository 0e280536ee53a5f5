import { stays } from './archive';
import { policy } from './policy';
import { literal } from './text';

/** Rules with SQL: each is one SELECT of the rules query and gives the steps that bring about one thing. */

/** What is done so many rows at a time, before the lock of the change. */
export const inBatches = `${policy.batch} at a time, while everybody works on`;

export const fill = [
  `
  -- Counted is what stays filled: a trigger may have other ideas.
  SELECT 'batch', 304, place, name,
         format('fill NULLs of %s with %s, ${inBatches}', found_name, fill),
         format('WITH filled AS (UPDATE %1$s t SET %2$I = %3$s FROM (SELECT %4$s FROM %1$s WHERE %2$I IS NULL '
                'LIMIT ${policy.batch} FOR NO KEY UPDATE SKIP LOCKED) a WHERE %5$s RETURNING t.%2$I AS filled) '
                'SELECT FROM filled WHERE filled IS NOT NULL',
                this.sql_name, found_name, fill, k.columns, k.matches), NULL, NULL, NULL
  FROM compared CROSS JOIN batched this CROSS JOIN key_of k
  WHERE wanted_not_null AND not_null IS NOT TRUE AND fill IS NOT NULL
    AND verdict NOT IN ('add', 'drop', 'foreign')`,
  `
  -- After batches there are hardly any left: they are filled where NOT NULL cannot be proved.
  SELECT CASE WHEN in_batches THEN 'refill' ELSE 'change' END, 340, place, name,
         format('fill {rows} NULLs of %s with %s', found_name, fill),
         format('UPDATE %1$s SET %2$I = %3$s WHERE %2$I IS NULL', this.sql_name,
                CASE WHEN in_batches THEN name ELSE found_name END, fill),
         NULL, NULL, NULL
  FROM compared CROSS JOIN this CROSS JOIN (SELECT EXISTS (SELECT 1 FROM batched)) b (in_batches)
  WHERE wanted_not_null AND not_null IS NOT TRUE AND fill IS NOT NULL
    AND verdict NOT IN ('add', 'drop', 'foreign')`,
];

export const upRows = [
  `
  -- Codes that are spent or replaced must not come back: an empty new name may mean just that, so a value
  -- moves only where the owner has them switched on.
  SELECT 'change', 310, 0, to_name,
         format('move {rows} values of %s into %s (their owners may want new ones)', from_name, to_name),
         format('UPDATE %1$s SET %2$I = %3$I::%4$s WHERE %2$I IS NULL AND %5$I AND %3$I::text <> %6$L',
                this.sql_name, to_name, from_name, n.type, move_where, empty), NULL, NULL, NULL
  FROM renaming CROSS JOIN this
  JOIN compared o ON o.name = from_name AND o.verdict = 'drop'
  JOIN compared n ON n.name = to_name`,
];

export const downRows = [
  `
  -- An archived old value whose row has no new one by now has been replaced and spent since. Said as "none"
  -- under the new name, so that the next up does not take the old value for one that never moved.
  SELECT 'change', 330, 0, to_name, format('mark {rows} spent values of %s as %s', to_name, empty),
         format('UPDATE %s t SET %I = %L FROM (SELECT * FROM %s) a WHERE %s AND t.%I IS NULL AND t.%I',
                this.sql_name, to_name, empty, o.sql_name, k.matches, to_name, move_where), NULL, NULL, NULL
  FROM renaming CROSS JOIN this CROSS JOIN key_of k
  JOIN returnable o ON o.role = 'up_archive'
  JOIN compared b ON b.name = from_name AND b.verdict = 'add'
  JOIN compared n ON n.name = to_name AND n.type ~ '^(text|jsonb?|character varying)'
  WHERE EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = move_where AND type = 'boolean')`,
];

/** The subcommand that gives a column the default that is wanted. */
const setDefault = `\
CASE WHEN wanted_default IS NULL THEN format('ALTER COLUMN %I DROP DEFAULT', name)
              ELSE format('ALTER COLUMN %I SET DEFAULT %s', name, wanted_default) END`;

/** The subcommand that adds a column. Values that were archived from a wider one need it as wide again. */
export const addColumn = (name: string) => `\
format('ADD COLUMN %I %s%s%s%s', ${name},
                CASE WHEN a.width > c.wanted_width THEN a.type ELSE c.wanted_type END, c.wanted_collate,
                ' DEFAULT ' || fill,
                CASE WHEN wanted_not_null AND fill IS NOT NULL THEN ' NOT NULL' END)`;

/** What `addColumn` reads. */
export const added = `\
compared c
  LEFT JOIN shape a ON a.role = 'down_archive' AND a.name = c.name AND a.family = c.wanted_family`;

export const catalog = [
  `
  SELECT 'change', 410, place, taker, format('rename %s to %s', giver, taker),
         format('ALTER TABLE %s RENAME COLUMN %I TO %I', this.sql_name, giver, taker), NULL, NULL, NULL
  FROM renamed CROSS JOIN this JOIN compared ON name = taker`,
  `
  SELECT 'change', 420, c.place, c.name,
         format('add %s %s%s%s', c.name, wanted_short_type, CASE WHEN wanted_not_null THEN ' NOT NULL' END,
                ' DEFAULT ' || fill),
         ${addColumn('c.name')}, NULL, NULL, NULL
  FROM ${added}
  WHERE verdict = 'add'`,
  `
  SELECT 'change', 420, place, name, format('widen %s from %s to %s', name, short_type, wanted_short_type),
         format('ALTER COLUMN %I TYPE %s%s', name, wanted_type, collate_as), NULL, NULL, NULL
  FROM compared WHERE verdict = 'widen'`,
  `
  SELECT 'change', 420, place, name,
         CASE WHEN wanted_default IS NULL THEN format('drop the default of %s', name)
              ELSE format('set the default of %s to %s', name, wanted_default) END,
         ${setDefault}, NULL, NULL, NULL
  FROM compared WHERE akin AND verdict <> 'foreign' AND NOT same_default`,
  `
  SELECT 'change', 420, place, name,
         format('make %s %s', name, CASE WHEN wanted_not_null THEN 'NOT NULL' ELSE 'nullable' END),
         format('ALTER COLUMN %I %s NOT NULL', name, CASE WHEN wanted_not_null THEN 'SET' ELSE 'DROP' END),
         NULL, NULL, NULL
  FROM compared
  WHERE verdict NOT IN ('add', 'drop', 'foreign') AND wanted_not_null IS DISTINCT FROM not_null
    AND (fill IS NOT NULL OR NOT wanted_not_null)`,
  `
  SELECT 'change', 420, place, name, format('drop %s', name), format('DROP COLUMN %I', name), NULL, NULL, NULL
  FROM compared WHERE verdict = 'drop' AND NOT EXISTS (SELECT 1 FROM archiving WHERE way = 'begun')`,
];

/** JSON that casts without fail: a list of strings without escapes. */
const listOfStrings = '^\\[ *("[^"\\\\[:cntrl:]]*"( *, *"[^"\\\\[:cntrl:]]*")*)? *\\]$';

export const downCatalog = [
  `
  -- Both names again: the old one gets what the archive holds, and otherwise the present value of the new one
  -- (which stays there as well) where that can be cast: of text to json, a list of plain strings.
  SELECT 'change', 430, 0, b.name, format('give {rows} values of %s to %s', to_name, from_name),
         format('UPDATE %s SET %I = %I::text::%s WHERE %s', this.sql_name, from_name, to_name, b.wanted_type,
                CASE WHEN n.type = b.wanted_type THEN format('%I IS NOT NULL', to_name)
                     WHEN b.wanted_family = 'text' THEN format('length(%I::text) <= %s', to_name, b.wanted_width)
                     WHEN b.wanted_type IN ('json', 'jsonb') THEN format('%I::text ~ %L', to_name,
                       ${literal(listOfStrings).trim()})
                     ELSE 'false' END),
         NULL, NULL, NULL
  FROM renaming CROSS JOIN this
  JOIN compared b ON b.name = from_name AND b.verdict = 'add'
  JOIN compared n ON n.name = to_name AND n.found_name = to_name`,
  `
  SELECT 'change', 431, 0, from_name, format('give back {rows} values of %s from %s', from_name, o.name),
         format('UPDATE %1$s t SET %2$I = a.%2$I FROM (SELECT * FROM %3$s) a WHERE %4$s',
                this.sql_name, from_name, o.sql_name, matches), NULL, NULL, NULL
  FROM given_back o CROSS JOIN this`,
  `
  -- A column that is added again may need a default for the rows that are there, and had none.
  SELECT 'change', 450, place, name, format('restore the default of %s', name),
         ${setDefault}, NULL, NULL, NULL
  FROM compared WHERE verdict = 'add' AND fill IS DISTINCT FROM wanted_default`,
  `
  SELECT 'change', 455, c.place, c.name, format('restore the comment of %s', c.name),
         format('COMMENT ON COLUMN %s.%I IS %L', this.sql_name, c.name, b.comment), NULL, NULL, NULL
  FROM compared c CROSS JOIN this JOIN shape b ON b.role = 'before' AND b.name = c.name
  WHERE verdict = 'add' AND b.comment IS NOT NULL`,
  `
  -- Rewrites the table, so only where it is small.
  SELECT 'change', 460, place, name, format('narrow %s from %s to %s', name, short_type, wanted_short_type),
         format('ALTER TABLE %s ALTER COLUMN %I TYPE %s%s', this.sql_name, name, wanted_type, collate_as),
         format('SELECT NOT EXISTS (SELECT 1 FROM %s WHERE length(%I) > %s)', this.sql_name, name, wanted_width),
         format('leave %s as %s: a value in it would not fit into %s', name, short_type, wanted_short_type), NULL
  FROM narrowing CROSS JOIN this WHERE reason IS NULL`,
  `
  -- NOT NULL without a default: nothing says what a NULL that has come since could be filled with.
  SELECT 'change', 470, place, name, format('make %s NOT NULL', name),
         format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', this.sql_name, name),
         CASE WHEN this.forced THEN 'SELECT false'
              ELSE format('SELECT NOT EXISTS (SELECT 1 FROM %s WHERE %I IS NULL)', this.sql_name, name) END,
         format('leave %s nullable, though it was NOT NULL: %s', name,
                CASE WHEN this.forced THEN 'row-level security hides whether it holds NULLs'
                     ELSE 'it holds NULLs' END), NULL
  FROM compared CROSS JOIN this
  WHERE wanted_not_null AND fill IS NULL AND not_null IS DISTINCT FROM true AND verdict NOT IN ('drop', 'foreign')`,
  `
  -- What is back must not come back once more, when it has been replaced.
  SELECT 'change', 475, 0, NULL, format('clear {rows} rows of %s, whose values are back', o.name),
         format('DELETE FROM %s a USING %s t WHERE %s', o.sql_name, this.sql_name, pairs),
         format('SELECT %s NOT IN (0, %s)', rows_back, rows_kept), NULL, NULL
  FROM given_back o CROSS JOIN this`,
  `
  -- A trigger may have kept a row from being updated.
  SELECT 'change', 480, 0, NULL, format('drop %s: all its values are back', o.name),
         format('DROP TABLE %s', o.sql_name), format('SELECT %s = %s', rows_back, rows_kept),
         ${stays}, NULL
  FROM given_back o CROSS JOIN this`,
  `
  SELECT 'forget', 500, 0, NULL, format('drop %s', o.name), format('DROP TABLE %s', o.sql_name), NULL, NULL, NULL
  FROM ours o WHERE o.role = 'before' AND o.oid IS NOT NULL`,
];
