import type { Direction } from './look';

/** What is kept in tables of ours beside the changed one: the shape before, and values that would be lost. */

/** What is said of an archive that is not dropped. */
export const stays = `\
format('%s stays: it holds values that are not back, as of rows that are gone. '
                'Look into it, then drop it', o.name)`;

/** Queries for a number of rows of an archive (o): those that have their values in the table again, and all of them. */
export const counts = (pairs: string) => `\
format('(SELECT count(*) FROM %s t JOIN (SELECT * FROM %s) a ON %s)',
                this.sql_name, o.sql_name, ${pairs}) AS rows_back,
         format('(SELECT count(*) FROM %s)', o.sql_name) AS rows_kept`;

/** A table of ours is readable by the owner of the changed one alone, whatever the default privileges are. */
function close(phase: 'prepare' | 'change', position: number): string {
  return `
  SELECT '${phase}', ${position}, 0, NULL, format('close %s to everybody but %s', o.name, this.owner),
         -- A publication FOR ALL TABLES wants an identity of what is deleted.
         format('ALTER TABLE %1$s REPLICA IDENTITY FULL; REVOKE ALL ON %1$s FROM PUBLIC%2$s; '
                'ALTER TABLE %1$s OWNER TO %3$I', o.sql_name,
                (SELECT string_agg(DISTINCT format(', %I', g.rolname), '')
                 FROM pg_default_acl p CROSS JOIN LATERAL aclexplode(p.defaclacl) x
                 JOIN pg_roles g ON g.oid = x.grantee AND g.rolname NOT IN (current_user, this.owner)
                 JOIN pg_roles me ON me.oid = p.defaclrole AND me.rolname = current_user
                 WHERE p.defaclobjtype = 'r'), this.owner),
         format('SELECT to_regclass(%L) IS NOT NULL', o.sql_name), NULL, NULL
  FROM ours o CROSS JOIN this`;
}

/** Where there is no shape before yet, and something to do. */
const isToBeWritten =
  "o.role = 'before' AND o.oid IS NULL AND EXISTS (SELECT 1 FROM rule WHERE phase = 'change')";

const notAside = 'found_name NOT IN (SELECT aside FROM putting)';

/** up: the shape that it finds, as an empty table of that very shape. */
export const writeDown = `
  SELECT 'prepare', 300, 0, NULL, format('write the shape before into %s', o.name),
         format('CREATE TABLE %s (%s)', o.sql_name, (
           SELECT string_agg(format('%I %s%s%s%s', found_name, type, collate_as, ' DEFAULT ' || default_expr,
                                    CASE WHEN not_null THEN ' NOT NULL' END), ', ' ORDER BY attnum)
           FROM compared WHERE found_name IS NOT NULL AND ${notAside}))
         || coalesce((
           SELECT string_agg(format('; COMMENT ON COLUMN %s.%I IS %L', o.sql_name, found_name, comment), '')
           FROM compared WHERE comment IS NOT NULL AND ${notAside}), '')
         || format('; COMMENT ON TABLE %s IS %L', o.sql_name,
                   'The columns as they were: the way back reads it and drops it.'),
         NULL, NULL, NULL
  FROM ours o
  WHERE ${isToBeWritten}
  UNION ALL${close('prepare', 301)}
  WHERE ${isToBeWritten}`;

/** up, both names: old values that are not the new ones; [] and NULL both mean none. */
export const differingValues = `\
archiving AS (
  SELECT quote_ident(from_name) AS columns, quote_ident(from_name) AS taken, 'at once' AS way,
         format('%1$I::text IS DISTINCT FROM %2$I::text AND NOT (%2$I IS NULL AND %1$I::text = %3$L)',
                from_name, to_name, empty) AS holds
  FROM renaming JOIN compared ON name = from_name AND verdict = 'drop'
)`;

/** The query that tells whether any row holds such a value. */
const anyHeld = "format('SELECT EXISTS (SELECT 1 FROM %s WHERE %s)', this.sql_name, holds)";

/** A format of rows that the archive has not yet. */
export const archiveRest = `\
'INSERT INTO %1$s (%2$s, %3$s) SELECT %2$s, %4$s FROM %5$s t '
                'WHERE (%6$s) AND NOT EXISTS (SELECT 1 FROM %1$s a WHERE %7$s)'`;

/** down, common table expression: the archive of the old name, which is there again and gets its values. */
export const givenBack = `\
given_back AS (
  SELECT o.name, o.sql_name, from_name, k.matches, p.pairs,
         ${counts('p.pairs')}
  FROM renaming CROSS JOIN this CROSS JOIN key_of k
  CROSS JOIN LATERAL (
    SELECT format('%1$s AND t.%2$I::text IS NOT DISTINCT FROM a.%2$I::text', k.matches, from_name)
  ) p (pairs)
  JOIN compared b ON b.name = from_name AND b.verdict = 'add'
  JOIN returnable o ON o.role = 'up_archive'
)`;

export function archive(direction: Direction): string[] {
  return [
    `
  SELECT 'change', 305, 0, NULL,
         format('%s holds values that would be dropped, and the table has no primary key by which they could '
                'come back', columns),
         NULL, ${anyHeld}, NULL,
         'Add a primary key, or save and clear the values yourself.'
  FROM archiving CROSS JOIN this WHERE this.key IS NULL`,
    `
  SELECT 'change', 306, 0, NULL, format('%s is there already, and an archive is never overwritten', o.name),
         NULL, ${anyHeld}, NULL,
         format('Look into it. If its values are not needed: DROP TABLE %s; otherwise rename it. '
                'Then run this again.', o.sql_name)
  FROM archiving CROSS JOIN this JOIN ours o ON o.role = '${direction}_archive' AND o.oid IS NOT NULL
  WHERE way <> 'continued'`,
    `
  SELECT 'change', 320, 0, NULL,
         format(CASE way WHEN 'begun' THEN 'make an archive for values of %s: %s'
                         WHEN 'continued' THEN 'archive the last {rows} rows with values of %s in %s'
                         ELSE 'archive {rows} rows with values of %s in %s' END, a.columns, o.name),
         format(CASE way WHEN 'continued' THEN ${archiveRest}
                         WHEN 'begun' THEN 'CREATE TABLE %1$s AS SELECT %2$s, %4$s FROM %5$s WHERE false'
                         ELSE 'CREATE TABLE %1$s AS SELECT %2$s, %4$s FROM %5$s WHERE %6$s' END,
                o.sql_name, k.columns, a.columns, a.taken, this.sql_name, holds, k.matches),
         CASE way WHEN 'at once'
                  THEN ${anyHeld} END,
         format('no archive: no row has a value in %s', a.columns), NULL
  FROM archiving a CROSS JOIN this CROSS JOIN key_of k JOIN ours o ON o.role = '${direction}_archive'
  WHERE k.columns IS NOT NULL`,
    `
${close('change', 321)}
  WHERE o.role = '${direction}_archive' AND EXISTS (SELECT 1 FROM archiving)`,
  ];
}
