import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Environment } from '../../src/database/connection';
import { freshDatabase, type TestDatabase } from '../support/database';
import { type Outcome, project, run } from '../support/knex';
import { npm } from '../support/npm';

/** From a project's folder. */
export const cli = '../node_modules/knex/bin/cli.js';
export const bin = '../node_modules/add-security-fields/dist/src/commands/cli.js';

export interface Installed {
  readonly root: string;
  /** What is in the package. */
  readonly packed: readonly string[];
  readonly database: TestDatabase;
}

/**
 * The package as npm packs it, installed beside Knex and TypeScript in a folder: a project in a folder of it finds its
 * node_modules. And a fresh database for each test.
 */
export function installed(...more: readonly string[]): () => Installed {
  let root: string;
  let packed: readonly string[];
  let database: TestDatabase;

  beforeAll(() => {
    root = mkdtempSync(join(realpathSync(tmpdir()), 'projects-'));
    const [{ filename, files }] = JSON.parse(
      npm(['pack', '--json', '--pack-destination', root], project).replace(/^[^[]*/, ''),
    );
    packed = files.map(({ path }: { path: string }) => path);
    writeFileSync(join(root, 'package.json'), '{ "private": true }');
    const { devDependencies } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'));
    const tools = ['typescript', 'ts-node', '@types/node'].map((name) => `${name}@${devDependencies[name]}`);
    const names = [join(root, filename), 'knex@3', 'pg@8', ...tools, ...more];
    npm(['install', '--ignore-scripts', ...names], root);
  });

  afterAll(() => rmSync(root, { recursive: true, force: true }));

  beforeEach(async () => {
    database = await freshDatabase();
  });

  afterEach(() => database.close());

  return () => ({ root, packed, database });
}

/** Writes files of a project. */
export function write(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

/** Runs Node.js in a project's folder. */
export function nodeIn(
  { root, database }: Installed,
  folder: string,
  args: readonly string[],
  env: Environment = {},
  program = process.execPath,
): Promise<Outcome> {
  return run(program, args, { DATABASE_URL: database.url, ...env }, join(root, folder));
}
