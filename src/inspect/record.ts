import type { Knex } from 'knex';
import { explained, type KnexClient, recordTable, withConnection } from '../connection';
import type { Change } from '../declaration';
import { advisoryKey } from '../run';

/** What Knex's own tables say. Each is null where there is no such table, or none that this role may read. */
export interface KnexRecord {
  /** The name under which the migration is recorded, and `latest` does nothing; false where it is not. */
  readonly recorded: string | false | null;
  /** Knex's lock. Set and stale: a migration was killed, or another one of its batch is at work. */
  readonly knexLock: 'free' | 'held' | 'stale' | null;
}

/** @throws UserError */
export async function recordOf(knex: Knex, change: Change): Promise<KnexRecord> {
  const { config }: KnexClient = knex.client;
  const { schemaName, tableName } = recordTable(config);
  return withConnection(knex, async (connection) => {
    const ask = async (suffix: string, query: (table: string) => string, ...values: string[]) => {
      const names = [...(schemaName ? [schemaName] : []), tableName + suffix];
      const table = names.map((name) => connection.escapeIdentifier(name)).join('.');
      const found = await connection.query(
        "SELECT has_table_privilege(to_regclass($1)::oid, 'SELECT') AS ok",
        [table],
      );
      return found.rows[0].ok ? (await connection.query(query(table), values)).rows[0] : null;
    };
    const { migration, endsWith = migration } = change.knex ?? {};
    const record = endsWith && (await ask('', recorded, endsWith));
    const lock = await ask('_lock', locked);
    return { recorded: record ? (record.name ?? false) : null, knexLock: lock?.state ?? null };
  }).catch((error) => {
    throw explained(error);
  });
}

/** Knex's own source of migrations records them with .js or .ts, ours without. */
const recorded = (table: string) => `
SELECT max(name) AS name FROM ${table} WHERE right(regexp_replace(name, '\\.\\w+$', ''), length($1::text)) = $1`;

/** A committed is_locked is down or rollback at work, or was killed; latest never commits it. Knex refuses two rows, too. */
const locked = (table: string) => `
SELECT CASE WHEN EXISTS (
         SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
         WHERE l.locktype = 'advisory' AND l.objid = ${advisoryKey}::oid AND l.granted) THEN 'held'
       WHEN count(*) > 1 OR sum(is_locked) > 0 THEN 'stale' ELSE 'free' END AS state
FROM ${table}`;

/** What is said where Knex takes for done what is not. */
export const recordedTooEarly = (name: string) =>
  `Knex has it recorded, so npx knex migrate:latest would do nothing: npx knex migrate:down ${name} deletes the record, then migrate:latest`;
