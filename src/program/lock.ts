import { tree } from './look';

/**
 * The relations to lock for the table, in the server's own order: parents first, then by oid. One by one,
 * because lock_timeout counts anew for each lock: LOCK on a table with 64 partitions could wait 64 times as long.
 */
export const relationsToLock = `
WITH RECURSIVE ${tree}
SELECT format('%I.%I', n.nspname, c.relname) AS sql_name
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
GROUP BY n.nspname, c.relname, c.oid
ORDER BY min(tree.depth), c.oid`;

/**
 * Who holds a transaction on the table, begun before a moment (SQL, as is the lock mode), that keeps the mode from
 * being granted: one row (holders, remedy). A query is shown up to its first string constant: those are the application's data.
 */
export const holders = (mode: string, before = 'clock_timestamp()') => `
WITH RECURSIVE ${tree},
holder AS (
  SELECT DISTINCT l.pid, a.usename, a.application_name, a.state, a.xact_start,
         split_part(regexp_replace(a.query, '(''|\\$([^0-9$][^$]*)?\\$).*', '''...'), chr(10), 1) AS first_line
  FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'relation' AND l.relation IN (SELECT oid FROM tree) AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND (${mode} = 'ACCESS EXCLUSIVE' OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
    AND coalesce(a.xact_start < ${before}, true)
)
SELECT string_agg(
         CASE WHEN pid IS NULL THEN 'a prepared transaction (see pg_prepared_xacts)'
              ELSE format('pid %s, user %s%s, %s', pid, coalesce(usename, 'unknown'),
                     ', application ' || quote_literal(nullif(application_name, '')),
                     CASE WHEN state IS NULL THEN 'state hidden from this role'
                          ELSE format('%s, transaction open for %s s: %s', state,
                                 round(extract(epoch FROM clock_timestamp() - xact_start)::numeric, 1),
                                 left(first_line, 100)) END)
         END, chr(10) ORDER BY xact_start) AS holders,
       string_agg('SELECT pg_terminate_backend(' || pid || ');', ' ' ORDER BY xact_start) AS remedy
FROM holder`;
