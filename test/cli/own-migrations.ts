import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Knex } from 'knex';
import { MigrationSource } from '../../src/migration-source';
import { knexCommand, knexFor, type Outcome, project } from '../support/knex';

export interface OwnMigrations {
  /** The real command line on this folder, with Knex's lifecycle hooks from `.hooks.js`, where there is one. */
  readonly knex: (...args: string[]) => Promise<Outcome>;
  /** The same by Knex's functions, within this process: `latest` is what `migrate:latest` is. */
  readonly migrate: <T>(work: (migrator: Knex.Migrator) => Promise<T>) => Promise<T>;
  readonly write: (file: string, text?: string) => void;
  readonly remove: (file: string) => void;
}

/**
 * A folder of migrations for each test of a file, inside the project, where TypeScript is run.
 *
 * @param url of the database
 */
export function ownMigrations(url: () => string): () => OwnMigrations {
  let here: string;
  beforeEach(() => {
    mkdirSync(join(project, '.postgres'), { recursive: true });
    here = mkdtempSync(join(project, '.postgres/migrations-'));
    writeFileSync(
      join(here, '.knexfile.ts'),
      `import knexConfig from '../../knexfile';
       import { MigrationSource } from '../../src/migration-source';
       import { existsSync } from 'node:fs';
       const hooks = () => (existsSync(__dirname + '/.hooks.js') ? require('./.hooks.js') : {});
       export default async () => ({
         ...(await knexConfig()),
         migrations: { migrationSource: new MigrationSource(__dirname), ...hooks() },
       });`,
    );
  });
  afterEach(() => rmSync(here, { recursive: true }));

  const nothing = 'exports.up = async () => {}; exports.down = async () => {};';
  return () => ({
    knex: (...args) =>
      knexCommand(['--knexfile', join(here, '.knexfile.ts'), ...args], { DATABASE_URL: url() }),
    migrate: async (work) => {
      const hooks = join(here, '.hooks.js');
      const migrations = {
        migrationSource: new MigrationSource(here),
        ...(existsSync(hooks) && require(hooks)),
      };
      const instance = await knexFor(url(), { migrations });
      return work(instance.migrate).finally(() => instance.destroy());
    },
    write: (file, text = nothing) => writeFileSync(join(here, file), text),
    remove: (file) => rmSync(join(here, file)),
  });
}
