import type { Knex } from 'knex';
import { type Client, escapeIdentifier, escapeLiteral } from 'pg';
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
const owner = (schema: string) =>
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
    throw new UserError(await lockedAdvice(connection, table));
  const { migrationSource, disableMigrationsListValidation } = config.migrations ?? {};
  if (!table.endsWith(`"${tableName}"`) || !migrationSource || disableMigrationsListValidation) return;
  const migrations = await migrationSource.getMigrations([]);
  const known = migrations.map((migration) => migrationSource.getMigrationName(migration));
  const unknown = response?.rows.map(({ name }) => name).filter((name) => !known.includes(name)) ?? [];
  if (unknown.length > 0) throw new UserError(unknownAdvice(table, unknown, known));
}

async function lockedAdvice(connection: Client, table: string): Promise<string> {
  const { rows } = await connection.query(`
    SELECT (SELECT pg_catalog.count(*)::int FROM ${table}) AS locks,
           pg_catalog.string_agg(pg_catalog.format('pid %s of %s (%s)', pid, usename, COALESCE(state, 'at work')), ', ') AS others
    FROM pg_catalog.pg_stat_activity
    WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
      AND application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name')
      AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()`);
  const [{ locks, others }] = rows;
  if (locks > 1)
    return `${table} has ${locks} rows, which nobody can lock. npx knex migrate:unlock leaves one.`;
  const now = others ? `Connected now: ${others}` : 'Nobody of this project is connected now';
  return (
    "Knex's lock is set: a migration is at work, or a migrate:down or migrate:rollback was killed.\n" +
    `${now}. Where no migration is at work: npx knex migrate:unlock, and the same command again.`
  );
}

function unknownAdvice(table: string, unknown: readonly string[], known: readonly string[]): string {
  const named = unknown.join(', ');
  if (unknown.every((name) => known.includes(name.replace(/\.[cm]?[jt]s$/, ''))))
    return (
      `${table} has the names of files: ${named}. Here a migration's name has no extension:\n` +
      `UPDATE ${table} SET name = regexp_replace(name, '\\.[cm]?[jt]s$', '') WHERE name IN (${unknown.map(escapeLiteral).join(', ')});`
    );
  return (
    `${table} records migrations that are not in migrations/: ${named}. Where they are another project's, this one\n` +
    "needs a table of its own: MIGRATIONS_TABLE=knex_migrations_0016. Where they are this one's, put the files back."
  );
}

/** What helps a role that the server has refused a statement of Knex's migrator (42501). */
export async function permissionAdvice(connection: Client, query: Query | string, config: Knex.Config) {
  const { schemaName = null, tableName } = recordTable(config);
  const tables = [tableName, `${tableName}_lock`];
  // Within a transaction that has failed nothing can be asked; but Knex's own is at its end.
  if (typeof query !== 'string' && query.sql.includes(`"${tableName}`)) await connection.query('ROLLBACK');
  const { rows } = await connection
    .query(
      `SELECT nspname AS schema, pg_catalog.pg_get_userbyid(nspowner) AS schema_owner,
              pg_catalog.has_schema_privilege(oid, 'CREATE') AS may_create,
              pg_catalog.pg_get_userbyid(${owner('n.oid')}) AS role,
              (SELECT pg_catalog.min(pg_catalog.pg_get_userbyid(relowner)::text) FROM pg_catalog.pg_class
               WHERE relnamespace OPERATOR(pg_catalog.=) n.oid AND relname OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.name[])
                 AND NOT pg_catalog.pg_has_role(relowner, 'USAGE')) AS stranger
       FROM pg_catalog.pg_namespace n
       WHERE nspname OPERATOR(pg_catalog.=) COALESCE($1, pg_catalog.current_schema())`,
      [schemaName, tables],
    )
    .catch(() => ({ rows: [] }));
  const [{ schema, schema_owner, may_create, role, stranger } = {} as Record<string, string>] = rows;
  const on = escapeIdentifier(schema ?? '');
  const to = escapeIdentifier(role ?? '');
  if (role && stranger)
    return [
      `Knex's tables belong to "${stranger}". As that role, if it is a member of "${role}", or as a superuser:`,
      ...tables.map((table) => `ALTER TABLE ${on}.${escapeIdentifier(table)} OWNER TO ${to};`),
    ].join('\n');
  if (role && !may_create)
    return `As "${schema_owner}", who owns the schema, or as a superuser:\nGRANT CREATE ON SCHEMA ${on} TO ${to};`;
  return (
    "Connect as the role that owns the application's tables: the migration alters one of them, and Knex keeps its\n" +
    'record in a table beside it.'
  );
}
