import type { Change } from '../declaration';
import { tableOid } from './table';

// Asked on the connection of Knex's batch, under whatever search_path it has: so everything is qualified.

/** An advisory lock that marks a transaction in which we migrate: `plan` tells a stale Knex lock by it. */
export const advisoryKey = 7_016;
export const markAsMigrating = `SELECT pg_catalog.pg_advisory_xact_lock_shared(${advisoryKey})`;

/**
 * Lifts, for this transaction, the limits that would end it while it idles, and gives what they were (name,
 * setting). Servers that do not know them (before 9.6 and 17) give no row.
 */
export const liftTimeouts = `
SELECT name, setting, pg_catalog.set_config(name, '0', true)
FROM pg_catalog.pg_settings
WHERE name OPERATOR(pg_catalog.=) ANY (ARRAY['idle_in_transaction_session_timeout', 'transaction_timeout'])`;

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
