import { join } from 'node:path';
import type { Knex } from 'knex';
import { Client } from 'pg';
import { DatabaseClient } from './src/database/client';
import { connectionFrom, type Environment } from './src/database/connection';
import { project, readEnvFile } from './src/database/env-file';
import { MigrationSource } from './src/migration-source';
import { UserError } from './src/user-error';

/** What Knex's command line and every command of ours work with. */
export default async function knexConfig(env: Environment = environment()): Promise<Knex.Config> {
  const schema = env['DB_SCHEMA'];
  let settings: ReturnType<typeof connection> | undefined;
  return {
    client: DatabaseClient,
    // A function: its errors reach the user as they are, and a command that needs no database starts none.
    connection: () => (settings ??= connection(env)),
    // public stays on the path, for what triggers of the application's tables expect there.
    ...(schema && { searchPath: [schema, 'public'], userParams: { schema } }),
    pool: { min: 0, max: 5 },
    // `directory` beside `migrationSource` would undo it.
    migrations: {
      migrationSource: new MigrationSource(join(__dirname, 'migrations')),
      tableName: recordIn(env),
      // Another project's record, where this is a package in it.
      disableMigrationsListValidation: __dirname.includes('node_modules'),
    },
    seeds: { directory: join(__dirname, 'seeds'), loadExtensions: ['.ts', '.js'] },
    log: { warn, error: console.error, deprecate: console.error },
  };
}

/** With _lock behind it the name must not be too long for the server; of a schema Knex makes a part of the name. */
function recordIn({ MIGRATIONS_TABLE: name = '' }: Environment): string {
  if (/^[^.?]{0,58}$/.test(name)) return name || 'knex_migrations';
  throw new UserError(`MIGRATIONS_TABLE is "${name}". It is a name of up to 58 letters, without a schema.`);
}

async function connection(env: Environment) {
  const configured = connectionFrom(env);
  if (configured) return configured;
  if (env['NODE_ENV'] === 'production') {
    throw new UserError(
      'No database is configured: set DATABASE_URL, or DB_HOST, DB_NAME, DB_USER and DB_PASSWORD.',
    );
  }
  // Late: nobody who has a database needs it, and production does not even install it.
  const { embeddedEnvironment } =
    require('./src/database/embedded') as typeof import('./src/database/embedded');
  const embedded = { ...connectionFrom(await embeddedEnvironment()) };
  const client = new Client(embedded);
  await client.connect();
  const { rows } = await client.query(
    "SELECT count(*)::int AS tables FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^knex_|_(before|archive)$'",
  );
  await client.end();
  const [{ tables }] = rows;
  console.error(
    'No database is configured (DATABASE_URL, ...): this is the embedded sample server, which is running, ' +
      `${tables > 0 ? `with ${tables} tables of the application in it` : 'with nothing in it yet (npm start fills it)'}. npm run db:stop stops it.`,
  );
  return embedded;
}

/** The process's own variables go before those of the file. */
function environment(): Environment {
  const named = process.env['DOTENV_CONFIG_PATH'];
  for (const path of named ? [named] : [join(project, '.env'), '.env']) {
    if (!readEnvFile(path) && named)
      throw new UserError(`DOTENV_CONFIG_PATH is ${named}, and no file is there.`);
  }
  return process.env;
}

function warn(message: string) {
  // Knex's own advice is for a lock that is stale. What is thrown here takes the place of its error.
  const locked = /^Can't take lock to run migrations: (.*)/s.exec(message);
  if (locked?.[1]) throw new UserError(locked[1]);
  // Knex announces these errors and then throws them: they would be shown twice.
  if (!/^(migration failed with error|Acquire connection error): /.test(message)) console.error(message);
}
