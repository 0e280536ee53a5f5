import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Knex } from 'knex';

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
      // One dot: neither .d.ts, nor .js.map, nor .test.ts.
      const [, name] = /^([^.]+)\.[jt]s$/.exec(entry) ?? [];
      if (name) paths.set(name, join(this.directory, entry));
    }
    return [...paths].map(([file, path]) => ({ file, path }));
  }

  getMigrationName(migration: MigrationFile): string {
    return migration.file;
  }

  async getMigration(migration: MigrationFile): Promise<Knex.Migration> {
    return require(migration.path) as Knex.Migration;
  }
}
