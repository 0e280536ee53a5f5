import { spawnSync } from 'node:child_process';
import { begin, type Outcome, type Running, run } from './knex';

const hasPsql = spawnSync('psql', ['--version']).status === 0;
if (!hasPsql) console.warn('There is no psql on the PATH: its tests are skipped.');

export const testWithPsql = hasPsql ? test : test.skip;

export type ScriptName = 'add_security_fields' | 'remove_security_fields';

/** A script of sql/, sent by psql as its header says. */
export function psqlScript(name: ScriptName, url: string): Promise<Outcome> {
  return psql(url, '-v', 'ON_ERROR_STOP=1', '-f', `sql/${name}.sql`);
}

/** The same, on its way. */
export function beginPsql(name: ScriptName, url: string): Running {
  return begin('psql', ['-X', '-v', 'ON_ERROR_STOP=1', '-f', `sql/${name}.sql`, url], {});
}

/** psql without its start-up file, in the project's folder. */
export function psql(url: string, ...args: readonly string[]): Promise<Outcome> {
  return run('psql', ['-X', ...args, url], {});
}
