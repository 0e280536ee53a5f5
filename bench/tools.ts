import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { project, run } from '../test/support/knex';

/** A way to make the change, as the command that its users type. */
export interface Tool {
  readonly id: string;
  /** What tables and charts call it. */
  readonly label: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Arguments for node. */
  readonly up: readonly string[];
  readonly down?: readonly string[];
  /** With another migration after it, of five seconds. */
  readonly batch?: readonly string[];
}

const peers = join(project, 'bench/peers');
const knex = join(project, 'node_modules/knex/bin/cli.js');
const pgMigrate = join(project, 'bench/node_modules/node-pg-migrate/bin/node-pg-migrate.js');
const send = join(peers, 'send.js');

export const ours: Tool = {
  id: 'ours',
  label: 'this project',
  up: [knex, 'migrate:latest', '--knexfile', 'dist/knexfile.js'],
  down: [knex, 'migrate:down', '--knexfile', 'dist/knexfile.js'],
  batch: [knex, 'migrate:latest', '--knexfile', join(peers, 'ours/batch.js')],
};
export const oursTypeScript: Tool = {
  id: 'ours-ts',
  label: 'this project, TypeScript',
  up: [knex, 'migrate:latest'],
};
export const oursScript: Tool = {
  id: 'ours-script',
  label: 'this project, SQL script',
  up: [send, join(project, 'sql/add_security_fields.sql')],
};
export const plainKnex: Tool = {
  id: 'knex',
  label: 'plain Knex',
  cwd: join(peers, 'knex-js'),
  up: [knex, 'migrate:latest'],
  down: [knex, 'migrate:down'],
  batch: [knex, 'migrate:latest', '--knexfile', 'batch.js'],
};
export const plainKnexChecked: Tool = {
  id: 'knex-ts-checked',
  label: 'plain Knex, TypeScript',
  cwd: join(peers, 'knex-ts'),
  // As Knex would by itself; but where it is missing that is an error, and not another package's turn.
  up: ['-r', 'ts-node/register', knex, 'migrate:latest'],
};
export const plainKnexTranspiled: Tool = {
  ...plainKnexChecked,
  id: 'knex-ts-transpiled',
  label: 'plain Knex, TypeScript unchecked',
  env: { TS_NODE_TRANSPILE_ONLY: 'true' },
};
export const nodePgMigrate: Tool = {
  id: 'node-pg-migrate',
  label: 'node-pg-migrate',
  cwd: join(peers, 'node-pg-migrate'),
  up: [pgMigrate, 'up', '-m', 'migrations'],
  batch: [pgMigrate, 'up', '-m', 'batch'],
};
export const separateAlters: Tool = {
  id: 'separate-alters',
  label: 'separate ALTERs',
  up: [send, join(peers, 'separate-alters.sql'), '--each'],
};
/** The floor: what the server itself needs. */
export const oneAlter: Tool = {
  id: 'one-alter',
  label: 'one ALTER',
  up: [send, join(peers, 'one-alter.sql')],
};

/** No migration at all: what the application waits for anyway. */
export const nothing: Tool = {
  id: 'nothing',
  label: 'no migration',
  up: ['-e', 'setTimeout(() => {}, 300)'],
};

export const all = [
  ours,
  oursTypeScript,
  oursScript,
  plainKnex,
  plainKnexChecked,
  plainKnexTranspiled,
  nodePgMigrate,
  separateAlters,
  oneAlter,
];

/** Those that do different things on the server; the fewer, for a short run. */
export const distinct = (isFull: boolean) =>
  isFull
    ? [ours, oursScript, plainKnex, nodePgMigrate, separateAlters, oneAlter]
    : [ours, plainKnex, oneAlter];

export interface Run {
  /** Of the whole process, in milliseconds. */
  readonly wall: number;
  /** The most memory that it had, in MB. */
  readonly memory: number;
}

/** Runs a tool's command. @throws with its output where it fails */
export async function runTool(tool: Tool, url: string, which: 'up' | 'down' | 'batch' = 'up'): Promise<Run> {
  const args = tool[which];
  if (!args) throw new Error(`${tool.id} has no ${which}`);
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const file = join(folder, 'peak');
  try {
    const started = performance.now();
    const { code, stdout, stderr } = await run(
      process.execPath,
      ['-r', join(project, 'bench/peak-memory.js'), ...args],
      { ...tool.env, DATABASE_URL: url, PEAK_MEMORY_FILE: file },
      tool.cwd,
    );
    const wall = performance.now() - started;
    if (code !== 0 || !existsSync(file)) throw new Error(`${tool.id} ${which} failed:\n${stdout}\n${stderr}`);
    return { wall, memory: Number(readFileSync(file, 'utf8')) / 1000 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
