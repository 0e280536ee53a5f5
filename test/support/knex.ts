import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { devNull } from 'node:os';
import { join } from 'node:path';
import { type Knex, knex } from 'knex';
import knexConfig from '../../knexfile';
import type { Environment } from '../../src/database/connection';

export const project = join(__dirname, '../..');

/** A Knex as the knexfile configures it for this database, with some of the configuration replaced. */
export async function knexFor(
  url: string,
  overrides: Knex.Config = {},
  env: Environment = {},
): Promise<Knex> {
  return knex({ ...(await knexConfig({ ...env, DATABASE_URL: url })), ...overrides });
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The real command line, `npx knex ...args`, with nothing in its environment but what is given. */
export function knexCommand(args: readonly string[], env: Environment): Promise<Outcome> {
  return beginKnex(args, env).outcome;
}

/** A command of package.json, `npm run plan -- ...args` and the like, without npm. */
export function projectCommand(name: string, args: readonly string[], env: Environment): Promise<Outcome> {
  return run(process.execPath, [...projectArguments(name), ...args], env);
}

/** What Node.js runs for `npm run name`. */
export function projectArguments(name: string): string[] {
  const { scripts } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'));
  const [program, ...args]: string[] = scripts[name].split(' ');
  return ['-r', `${program}/register`, ...args];
}

export function run(
  program: string,
  args: readonly string[],
  env: Environment,
  cwd = project,
): Promise<Outcome> {
  return begin(program, args, env, cwd).outcome;
}

/** A command on its way, to whom signals can be sent. */
export interface Running {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
}

/** The same as `knexCommand`, and does not wait for the end. */
export function beginKnex(args: readonly string[], env: Environment): Running {
  return begin(process.execPath, ['node_modules/knex/bin/cli.js', ...args], env, project);
}

export function begin(program: string, args: readonly string[], env: Environment, cwd = project): Running {
  const { PATH, HOME } = process.env;
  const child = spawn(program, args, {
    cwd,
    env: { PATH, HOME, DOTENV_CONFIG_PATH: devNull, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text;
    });
  }
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...output }));
  });
  return { child, outcome };
}
