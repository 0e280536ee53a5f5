import type { Change } from '../declaration';
import type { Direction } from '../program/program';
import type { Look } from './looking';

/** What a look at the catalog tells beyond what the program itself says. */
export interface Advice {
  readonly conflicts: readonly string[];
  readonly warnings: readonly string[];
  readonly holders: string | null;
}

/** Asks each of the questions below. */
export async function advice(rows: Look['rows'], _change: Change, _direction: Direction): Promise<Advice> {
  const ask = async (query: string) => (await rows<{ line: string }>(query)).map(({ line }) => line);
  const [holders = null] = await ask(holding);
  return { conflicts: await ask(refusals), warnings: await ask(replication), holders };
}

/** Why this role may not do it here; the server itself would say it in the midst of the work. */
const refusals = `
SELECT concat(problem, chr(10), remedy) AS line
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles o ON o.oid = c.relowner
JOIN pg_roles me ON me.rolname = current_user
CROSS JOIN LATERAL (VALUES
  (pg_is_in_recovery(), 'this server is a standby: it cannot be changed',
   'Connect to the primary and run it there; the standby follows by itself.'),
  (NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'on', 'this session is read-only',
   'See where that comes from: SELECT source, setting FROM pg_settings WHERE name = ''default_transaction_read_only'';'),
  (NOT pg_has_role(c.relowner, 'USAGE'),
   format('it belongs to %I, and only its owner may alter it; this session is %I', o.rolname, current_user),
   format('Run it as %I, or as a member of that role.', o.rolname)),
  (NOT (me.rolsuper OR has_schema_privilege(o.oid, n.oid, 'CREATE')),
   format('the way back is kept in a table beside it, and %I may not create one in schema %I', o.rolname, n.nspname),
   format('As the owner of the schema: GRANT CREATE ON SCHEMA %I TO %I; it can be revoked after the last step.',
          n.nspname, o.rolname))
) reason (applies, problem, remedy)
WHERE c.oid = $1 AND applies`;

/** Subscribers and publishers: who has to be migrated first. */
const replication = `
SELECT format('%s. A subscriber without the columns stops at the next write, and goes on once it has them: migrate this '
              'server first, then the subscribers at once.', pg_describe_object(classid, objid, objsubid)) AS line
FROM pg_depend
WHERE refclassid = 'pg_class'::regclass AND refobjid = $1 AND refobjsubid = 0
  AND classid = to_regclass('pg_catalog.pg_publication_rel')
UNION ALL
SELECT format('the logical replication slot %s decodes this database. If the table is published to it: migrate this server '
              'first, then the subscribers at once. FOR ALL TABLES publishes the tables that are kept beside it, too: they '
              'need them.', slot_name)
FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()
UNION ALL
-- By query_to_xml, because servers before 10 have no such catalog.
SELECT 'the table is fed by a subscription. Migrate the server that publishes first, then this one at once.'
WHERE to_regclass('pg_catalog.pg_subscription_rel') IS NOT NULL
  AND query_to_xml(format('SELECT 1 FROM pg_catalog.pg_subscription_rel WHERE srrelid = %s', $1::oid),
                   false, false, '')::text LIKE '%<row%'`;

/** Who holds a transaction on the table, or on a part of it. A query is shown up to its first string: somebody's data. */
const holding = `
WITH RECURSIVE tree (oid) AS (
  SELECT $1::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
)
SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction; see pg_prepared_xacts'
         ELSE format('pid %s, user %s, application %L, %s, transaction open for %s s: %s', l.pid, a.usename,
                     coalesce(a.application_name, ''), coalesce(a.state, 'hidden from this role'),
                     round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1),
                     left(split_part(regexp_replace(a.query, '(''|\\$([^0-9$][^$]*)?\\$).*', '''...'), chr(10), 1), 100))
       END, chr(10)) AS line
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation IN (SELECT oid FROM tree) AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.pid IS DISTINCT FROM pg_backend_pid()`;
