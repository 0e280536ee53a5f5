import type { Change } from '../declaration';
import { target } from './look';
import { literal, name } from './text';

/** What the table is called in a statement: an unqualified name is looked up on the role's search_path. */
export function tableName(change: Change): string {
  return (change.schema === undefined ? '' : `${name(change.schema)}.`) + name(change.table);
}

/**
 * Gives the table's oid, or NULL. Everything in it is qualified, because it runs before search_path is ours.
 * to_regclass takes cstring up to 9.5 and text from 9.6: only a bare literal is both.
 */
export function tableOid(change: Change): string {
  return `pg_catalog.to_regclass(${literal(tableName(change))})::pg_catalog.oid`;
}

/** Looks the table up and aims the program's queries at it, for this transaction. */
export function aim(change: Change): string {
  return `pg_catalog.set_config('table_change.target',
  coalesce(${tableOid(change)}::pg_catalog.text, ''), true)`;
}

/**
 * Paragraph 1. Why the change cannot be made to the table here and by this role: rows (problem, advice,
 * blind), the weightiest first. `blind`: then there is nothing to look at either.
 */
export function refusals(change: Change): string {
  const table = tableName(change);
  return `
SELECT replace(problem, '%s', ${literal(table)}) AS problem, advice, blind
FROM (SELECT ${target} AS oid) wanted
LEFT JOIN pg_class c ON c.oid = wanted.oid
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_roles o ON o.oid = c.relowner
LEFT JOIN pg_roles me ON me.rolname = current_user
CROSS JOIN LATERAL (VALUES
  (1, false, pg_is_in_recovery(),
   'this server is a standby: it cannot be changed, and %s is changed on its primary',
   'Connect to the primary and run it there; the standby follows by itself.'),
  (2, false, current_setting('transaction_read_only') = 'on',
   'this session is read-only, so %s cannot be changed',
   'See where that comes from: '
   'SELECT source, setting FROM pg_settings WHERE name = ''default_transaction_read_only'';'),
  (3, false, current_setting('transaction_isolation') <> 'read committed',
   'this transaction is ' || upper(current_setting('transaction_isolation'))
     || ': it would go on seeing %s as it was before the lock',
   'Run it under READ COMMITTED: SET default_transaction_isolation = ''read committed''; then again.'),
  (4, true, c.oid IS NULL,
   'there is no table %s on the search_path of ' || quote_ident(current_user)
     || ' in database ' || quote_ident(current_database()),
   ${literal(change.after ? `${change.after} ` : '')}
   'If the table is in another schema, name it: DB_SCHEMA=... or SET search_path.'),
  (5, true, c.relkind NOT IN ('r', 'p'),
   '%s is a ' || CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                                WHEN 'f' THEN 'foreign table'
                                ELSE 'relation of kind "' || c.relkind::text || '"' END || ', not a table',
   'Name the schema of the table itself: DB_SCHEMA=... or SET search_path. '
   'A foreign table is changed on its own server.'),
  (6, true, c.relpersistence = 't',
   '%s is a temporary table of this session, which hides the real one',
   'Drop the temporary table or use a new session, then run it again.'),
  (7, true, to_jsonb(c) ->> 'relispartition' = 'true',
   '%s is a partition',
   'Change the partitioned table that it belongs to: its partitions follow.'),
  (8, false, NOT pg_has_role(c.relowner, 'USAGE'),
   '%s belongs to ' || quote_ident(o.rolname)
     || ', and only its owner may alter it; this session is ' || quote_ident(current_user),
   'Run it as ' || quote_ident(o.rolname) || ', or as a member of that role.'),
  (9, false, NOT (me.rolsuper OR has_schema_privilege(o.oid, n.oid, 'CREATE')),
   'the way back from the change to %s is kept in a table beside it, and ' || quote_ident(o.rolname)
     || ' may not create one in schema ' || quote_ident(n.nspname),
   -- No format(): its %I fails where there is no table.
   'As the owner of the schema: GRANT CREATE ON SCHEMA ' || quote_ident(n.nspname)
     || ' TO ' || quote_ident(o.rolname) || '; it can be revoked after the last step.')
) reason (place, blind, applies, problem, advice)
WHERE applies
ORDER BY place`;
}
