import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { config as loadEnv } from 'dotenv';
import type { Knex } from 'knex';
import { DatabaseClient } from './src/database/client';
import { connectionFrom, type Environment } from './src/database/connection';
import { MigrationSource } from './src/migration-source';
import { UserError } from './src/user-error';

/** This folder, or its parent once this file is compiled to dist/. */
const project = existsSync(join(__dirname, 'package.json')) ? __dirname : dirname(__dirname);

/** What Knex's command line and every command of ours work with. */
export default async function knexConfig(env: Environment = environment()): Promise<Knex.Config> {
  const schema = env['DB_SCHEMA'];
  let settings: ReturnType<typeof connection> | undefined;
  return {
    client: DatabaseClient,
    // A function: its errors reach the user as they are, and a command that needs no database starts none.
    connection: () => (settings ??= connection(env)),
    // public stays on the path, for what triggers of the application's tables expect there.
    ...(schema && { searchPath: [schema, 'public'] }),
    pool: { min: 0, max: 5 },
    // `directory` beside `migrationSource` would undo it.
    migrations: {
      migrationSource: new MigrationSource(join(__dirname, 'migrations')),
      tableName: env['MIGRATIONS_TABLE'] || 'knex_migrations',
    },
    seeds: { directory: join(__dirname, 'seeds'), loadExtensions: ['.ts', '.js'] },
    log: { warn, error: console.error, deprecate: console.error },
  };
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
  const embedded = connectionFrom(await embeddedEnvironment());
  console.error('No database is configured (DATABASE_URL, ...): this is the embedded sample server.');
  return { ...embedded };
}

/** The process's own variables go before those of the file. */
function environment(): Environment {
  loadEnv({ path: process.env['DOTENV_CONFIG_PATH'] || [join(project, '.env'), '.env'], quiet: true });
  return process.env;
}

/** Knex announces these errors and then throws them: they would be shown twice. */
function warn(message: string) {
  if (!/^(migration failed with error|Acquire connection error): /.test(message)) console.error(message);
}
