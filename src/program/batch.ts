import type { Change } from '../declaration';
import { tableOid } from './table';

// Asked on the connection of Knex's batch, under whatever search_path it has: so everything is qualified.

/** An advisory lock that marks a transaction in which we migrate: `plan` tells a stale Knex lock by it. */
export const advisoryKey = 7_016;
export const markAsMigrating = `SELECT pg_catalog.pg_advisory_xact_lock_shared(${advisoryKey})`;

/**
 * Lifts, for this transaction, the limits that would end it while it idles, and has the server notice within half a
 * minute that we are gone: it would hold Knex's lock until then. Gives what was set before (name, setting). Servers
 * that do not know a limit (before 9.6 and 17) give no row for it.
 */
export const keepOpen = `
SELECT s.name, s.setting, pg_catalog.set_config(s.name, wanted.setting, true)
FROM pg_catalog.pg_settings s
JOIN (VALUES ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'), ('tcp_keepalives_idle', '10'),
             ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3')) AS wanted (name, setting)
  ON wanted.name OPERATOR(pg_catalog.=) s.name`;

/**
 * Whether this transaction holds a lock on the table or a part of it: an earlier migration of the batch made or
 * touched it. Any other connection would wait for us in vain.
 */
export function holdsTheTable(change: Change): string {
  return `
WITH RECURSIVE tree (oid) AS (
  SELECT ${tableOid(change)}
  UNION ALL
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid OPERATOR(pg_catalog.=) i.inhparent
)
SELECT EXISTS (
  SELECT 1 FROM pg_catalog.pg_locks l JOIN tree t ON t.oid OPERATOR(pg_catalog.=) l.relation
  WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
) AS holds`;
}
