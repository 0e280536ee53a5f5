/** Rules that say something and change nothing: conflicts and notes. Each is one SELECT of the rules query. */

export const conflicts = [
  `
  -- A column that differs only in case would be left behind.
  SELECT 'conflict', 100, s.attnum::integer, s.name,
         format('there is a column %I, which differs from %s only in case', s.name, lower(s.name)),
         NULL::text, NULL::text, NULL::text,
         format('Rename it: ALTER TABLE %s RENAME COLUMN %I TO %I; then run this again.', this.sql_name, s.name,
                lower(s.name) || CASE WHEN lower(s.name) IN (SELECT name FROM shape WHERE role = 'found')
                                      THEN '_old' ELSE '' END)
  FROM shape s CROSS JOIN this
  WHERE s.role = 'found' AND s.name <> lower(s.name) AND lower(s.name) IN (SELECT name FROM concerned)`,
  `
  SELECT 'conflict', 105, c.place, p.aside,
         format('%s is there beside %s, and may hold values on their way', p.aside, p.name), NULL, NULL, NULL,
         format('Look into both. Where all that is needed is in %s: ALTER TABLE %s DROP COLUMN %I; '
                'then run this again.', p.name, this.sql_name, p.aside)
  FROM putting p CROSS JOIN this JOIN compared c ON c.found_name = p.aside
  WHERE EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = p.name)`,
  `
  SELECT 'conflict', 110, place, found_name,
         format('%s is inherited from another table and can only be changed there', found_name), NULL, NULL, NULL,
         'Make the change to the parent table: its children follow.'
  FROM compared WHERE attinhcount > 0`,
  `
  SELECT 'conflict', 120, place, c.name,
         format('%s has a column %s of its own, and %s is to get one',
                child.oid::regclass, c.name, this.sql_name), NULL, NULL, NULL,
         format('Rename the column of the child first: ALTER TABLE %s RENAME COLUMN %I TO %I;',
                child.oid::regclass, c.name, c.name || '_old')
  FROM compared c CROSS JOIN this CROSS JOIN tree child
  JOIN pg_attribute a ON a.attrelid = child.oid AND a.attname = c.name AND NOT a.attisdropped
  WHERE verdict = 'add' AND (a.attislocal OR child.depth = 1)
  GROUP BY place, c.name, child.oid, this.sql_name`,
  `
  -- Dropped columns keep their number, so the limit comes nearer with every up and down.
  SELECT 'conflict', 130, 0, NULL,
         format('%s columns are to be added, and only %s of the 1,600 column numbers of a table are left',
                count(*), 1600 - this.last_attnum), NULL, NULL, NULL,
         'Columns that were dropped count too. '
         'Copy the table into a new one (pg_dump and restore) to get their numbers back.'
  FROM compared CROSS JOIN this WHERE verdict = 'add'
  GROUP BY this.last_attnum HAVING count(*) > 1600 - this.last_attnum`,
  `
  -- From 11 on a constant default costs no rewrite.
  SELECT 'note', 240, 0, NULL,
         format('before PostgreSQL 11 a column with a default rewrites the table, and readers wait: '
                'about %s rows, %s',
                (SELECT sum(greatest(c.reltuples, 0))::bigint FROM tree JOIN pg_class c ON c.oid = tree.oid),
                pg_size_pretty(this.bytes)), NULL, NULL, NULL, NULL
  FROM this
  WHERE current_setting('server_version_num')::integer < 110000
    AND EXISTS (SELECT 1 FROM compared WHERE verdict = 'add' AND fill IS NOT NULL)`,
];

export const upConflicts = [
  `
  SELECT 'conflict', 140, place, name,
         format('%s is %s, and the application needs %s', found_name, short_type, wanted_short_type),
         NULL, NULL, NULL,
         format('Rename or convert it first, for example: '
                'ALTER TABLE %1$s RENAME COLUMN %2$I TO %3$I;%4$s then run this again.',
                this.sql_name, found_name, found_name || '_old',
                CASE WHEN not_null AND special IS NULL
                     THEN format(' ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL;',
                                               this.sql_name, found_name || '_old') END)
  FROM compared CROSS JOIN this WHERE verdict = 'foreign'`,
  `
  -- Both names: values can move only where no value can fail to convert.
  SELECT 'conflict', 150, 0, to_name,
         format('both %s (%s) and %s (%s) exist, and not every value of the one is a value of the other',
                from_name, o.short_type, to_name, n.short_type), NULL, NULL, NULL,
         format('Convert %s to text or to the type of %s first, then run this again.', to_name, from_name)
  FROM renaming JOIN compared o ON o.name = from_name JOIN compared n ON n.name = to_name
  WHERE o.verdict = 'drop' AND n.type <> o.type AND n.type NOT IN ('text', 'character varying')`,
  `
  SELECT 'conflict', 160, 0, move_where,
         format('both %s and %s exist, and %s (boolean), which tells where a value may move, does not',
                from_name, to_name, move_where), NULL, NULL, NULL,
         format('Add %s, or drop the one of the two columns that nobody uses.', move_where)
  FROM renaming JOIN compared o ON o.name = from_name
  WHERE o.verdict = 'drop'
    AND NOT EXISTS (SELECT 1 FROM shape WHERE role = 'found' AND name = move_where AND type = 'boolean')`,
  `
  SELECT 'note', 250, place, name,
         format('leave %s as %s: it holds everything that %s does', name, short_type, wanted_short_type),
         NULL, NULL, NULL, NULL
  FROM compared WHERE verdict = 'leave'`,
  `
  SELECT 'note', 251, 0, NULL,
         format('%s stays: it has values that cannot come back by themselves, of %s', o.name,
                string_agg(s.name, ', ' ORDER BY s.attnum)),
         NULL, NULL, NULL, format('Look into it, then drop it: DROP TABLE %s;', o.sql_name)
  FROM ours o CROSS JOIN this JOIN shape s ON s.role = o.role
  WHERE o.role = 'down_archive' AND NOT coalesce(quote_ident(s.name) = ANY (this.key), false)
    AND s.name NOT IN (SELECT name FROM returned)
  GROUP BY o.name, o.sql_name`,
];

export const downNotes = [
  `
  SELECT 'note', 250, 0, NULL,
         format('nothing to take back: there is no table %s. %s', o.name,
                CASE WHEN EXISTS (SELECT 1 FROM shape JOIN putting ON aside = shape.name WHERE role = 'found')
                     THEN 'Values are on their way back to the columns put aside: make the change again first'
                     ELSE 'It has been taken back already, or the columns were not added by this change' END),
         NULL::text, NULL::text, NULL::text, NULL::text
  FROM ours o WHERE o.role = 'before' AND o.oid IS NULL`,
  `
  SELECT 'note', 251, place, name,
         format('leave %s as %s, though it was %s: its type has been changed since',
                name, short_type, wanted_short_type), NULL, NULL, NULL, NULL
  FROM compared WHERE verdict IN ('leave', 'foreign') AND type <> wanted_type`,
  `
  SELECT 'note', 252, place, name,
         format('leave %s as %s, though it was %s: %s', name, short_type, wanted_short_type, reason),
         NULL, NULL, NULL,
         format('At a quiet hour: ALTER TABLE %s ALTER COLUMN %I TYPE %s%s;',
                this.sql_name, name, wanted_type, collate_as)
  FROM narrowing CROSS JOIN this WHERE reason IS NOT NULL`,
  `
  SELECT 'note', 253, 0, NULL, format('%s stays: its values cannot come back by themselves', o.name),
         NULL, NULL, NULL, format('Look into it, then drop it: DROP TABLE %s;', o.sql_name)
  FROM ours o
  WHERE o.role = 'up_archive' AND o.oid IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM returnable r CROSS JOIN renaming
                    JOIN compared c ON c.name = from_name AND c.verdict = 'add' WHERE r.role = o.role)`,
];
