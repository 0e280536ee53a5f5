import { readdir } from 'node:fs/promises';
import { join, parse } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Knex } from 'knex';

interface MigrationFile {
  /** The name without extension; Knex's `migrate:list` prints it under this key. */
  readonly file: string;
  readonly path: string;
}

/**
 * Migrations by their name without extension, so that TypeScript and the JavaScript compiled from it are one
 * history. With Knex's own source a name ends in .ts or .js, and the other one reads as "directory is corrupt".
 */
export class MigrationSource implements Knex.MigrationSource<MigrationFile> {
  constructor(private readonly directory: string) {}

  async getMigrations(): Promise<MigrationFile[]> {
    const paths = new Map<string, string>();
    for (const entry of (await readdir(this.directory)).sort()) {
      // Neither what a compiler, an editor or an archive leaves beside a migration, nor its tests.
      if (/^[^.].*\.[cm]?[jt]s$/.test(entry) && !/\.(d|test|spec)\.\w+$/.test(entry))
        paths.set(parse(entry).name, join(this.directory, entry));
    }
    return [...paths].map(([file, path]) => ({ file, path }));
  }

  getMigrationName(migration: MigrationFile): string {
    return migration.file;
  }

  /** What Node.js, or ts-node in it, cannot run it refuses by name. */
  async getMigration({ path }: MigrationFile): Promise<Knex.Migration> {
    return /\.m[jt]s$/.test(path) ? import(pathToFileURL(path).href) : require(path);
  }
}
