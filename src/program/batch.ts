import type { Change } from '../declaration';
import { tableOid } from './table';

/** An advisory lock that marks a transaction in which we migrate: `plan` tells a stale Knex lock by it. */
export const advisoryKey = 7_016;

/** The one row of `beginBatch`. */
export interface BatchBegun {
  /** An earlier migration of the batch made or touched the table: any other connection would wait for us in vain. */
  readonly holds: boolean;
  /** Settings that were changed, as they were: JSON for `endBatch`. */
  readonly settings: unknown;
}

/**
 * Asked once on the connection of Knex's batch, under whatever search_path it has: so everything is qualified.
 * Marks the transaction. Lifts, for this transaction, the limits that would end it while it idles, and has the
 * server notice within half a minute that we are gone: it would hold Knex's lock until then. (Servers before 9.6
 * and 17 do not know each of the limits.) Tells whether it holds a lock on the table or a part of it.
 */
export function beginBatch(change: Change): string {
  return `
WITH RECURSIVE tree (oid) AS (
  SELECT ${tableOid(change)}
  UNION ALL
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid OPERATOR(pg_catalog.=) i.inhparent
)
SELECT pg_catalog.pg_advisory_xact_lock_shared(${advisoryKey}),
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                 'name', s.name, 'setting', s.setting, 'now', pg_catalog.set_config(s.name, wanted.setting, true)))
        FROM pg_catalog.pg_settings s
        JOIN (VALUES ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
                     ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3')
             ) AS wanted (name, setting)
          ON wanted.name OPERATOR(pg_catalog.=) s.name) AS settings,
       EXISTS (
         SELECT 1 FROM pg_catalog.pg_locks l JOIN tree t ON t.oid OPERATOR(pg_catalog.=) l.relation
         WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
       ) AS holds`;
}

/** Sets back what `beginBatch` has set, for the migrations that follow. */
export const endBatch = `
SELECT pg_catalog.set_config(name, setting, true)
FROM pg_catalog.json_to_recordset($1) AS was (name pg_catalog.text, setting pg_catalog.text)`;
