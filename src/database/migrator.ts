import type { Knex } from 'knex';
import { type Client, escapeLiteral } from 'pg';
import { recordTable } from '../connection';
import { UserError } from '../user-error';

/** A statement as Knex hands it to its client, and as it comes back. */
export interface Query {
  readonly sql: string;
  readonly response?: { readonly rowCount: number; readonly rows: readonly { readonly name: string }[] };
}

/** An advisory lock of ours, for the moment in which Knex's tables are made. */
const makingTables = 7_017;

/** The role that has most tables of a schema, and whose rights this one has: the application's owner. */
export const owner = (schema: string) =>
  `(SELECT relowner FROM pg_catalog.pg_class
    WHERE relnamespace OPERATOR(pg_catalog.=) ${schema} AND relkind OPERATOR(pg_catalog.=) ANY ('{r,p}')
      AND pg_catalog.pg_has_role(relowner, 'USAGE')
    GROUP BY relowner ORDER BY pg_catalog.count(*) DESC LIMIT 1)`;

/**
 * Knex looks whether its tables are there, and makes them: of several that do so at once all but one fail, and some
 * leave two rows in knex_migrations_lock, a lock that nobody can take. So each is made with its row, by one at a time;
 * and for the application's owner, so that every member of that role can go on with it.
 */
export function madeOnce(query: Query, config: Knex.Config): Query {
  const { tableName } = recordTable(config);
  const [create, table = ''] = /^create table (.*?) \(/.exec(query.sql) ?? [];
  const isLock = table.endsWith(`"${tableName}_lock"`);
  if (!create || !(isLock || table.endsWith(`"${tableName}"`))) return query;
  const row = `INSERT INTO ${table} (is_locked) SELECT 0 WHERE NOT EXISTS (SELECT FROM ${table});`;
  return {
    ...query,
    sql: `SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.pg_advisory_xact_lock(${makingTables});
      CREATE TABLE IF NOT EXISTS ${query.sql.slice('create table '.length)}; ${isLock ? row : ''}
      DO $do$ BEGIN
        EXECUTE (SELECT pg_catalog.format('ALTER TABLE %s OWNER TO %I', oid::pg_catalog.regclass,
                                          pg_catalog.pg_get_userbyid(${owner('made.relnamespace')}))
                 FROM pg_catalog.pg_class made
                 WHERE oid OPERATOR(pg_catalog.=) ${escapeLiteral(table)}::pg_catalog.regclass);
      -- No such role, or it may not be given away.
      EXCEPTION WHEN null_value_not_allowed OR insufficient_privilege THEN NULL; END $do$`,
  };
}

/**
 * Knex's own refusals, before Knex makes them: that its lock is taken, and that its record has what is not there.
 *
 * @throws UserError
 */
export async function refuse(connection: Client, { sql, response }: Query, config: Knex.Config) {
  const { tableName } = recordTable(config);
  const [, table = ''] = /^(?:update|select "name" from) (\S*")/.exec(sql) ?? [];
  if (table.endsWith(`"${tableName}_lock"`) && / where /.test(sql) && response?.rowCount !== 1)
    throw new UserError(await failures().lockedAdvice(connection, table));
  const { migrationSource, disableMigrationsListValidation } = config.migrations ?? {};
  if (!table.endsWith(`"${tableName}"`) || !migrationSource || disableMigrationsListValidation) return;
  const migrations = await migrationSource.getMigrations([]);
  const known = migrations.map((migration) => migrationSource.getMigrationName(migration));
  const unknown = response?.rows.map(({ name }) => name).filter((name) => !known.includes(name)) ?? [];
  if (unknown.length > 0) throw new UserError(failures().unknownAdvice(table, unknown, known));
}

/** What to do about it. Late: where nothing fails it would only take time. */
export const failures = () => require('./failures') as typeof import('./failures');
