import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Knex } from 'knex';
import { UserError } from './user-error';

interface MigrationFile {
  /** The name without extension; Knex's `migrate:list` prints it under this key. */
  readonly file: string;
  readonly path: string;
}

/**
 * Migrations by their name without extension, so that TypeScript and the JavaScript compiled from it are one
 * history. With Knex's own source a name ends in .ts or .js, and the other one reads as "directory is corrupt".
 *
 * Beside a `migrationSource` Knex's options `directory` and `loadExtensions` must not be set: they undo it.
 */
export class MigrationSource implements Knex.MigrationSource<MigrationFile> {
  constructor(private readonly directory: string) {}

  async getMigrations(): Promise<MigrationFile[]> {
    const entries = await readdir(this.directory);
    const paths = new Map<string, string>();
    for (const entry of entries.sort()) {
      // Neither what a compiler, an editor or an archive leaves beside a migration, nor its tests.
      const isMigration = /^[^.].*\.[cm]?[jt]s$/.test(entry) && !/\.(d|test|spec)\.\w+$/.test(entry);
      if (!isMigration) continue;
      const [path, extension] = [join(this.directory, entry), extname(entry)];
      if (/^\.[cm]ts$/.test(extension)) {
        throw new UserError(
          `${path}: Knex runs .ts, .js, .cjs and .mjs. Rename it: it must not be left out.`,
        );
      }
      paths.set(entry.slice(0, -extension.length), path);
    }
    return [...paths].map(([file, path]) => ({ file, path }));
  }

  getMigrationName(migration: MigrationFile): string {
    return migration.file;
  }

  async getMigration({ path }: MigrationFile): Promise<Knex.Migration> {
    return extname(path) === '.mjs' ? import(pathToFileURL(path).href) : require(path);
  }
}
