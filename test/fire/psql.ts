import { spawnSync } from 'node:child_process';
import { type Outcome, run } from '../support/knex';

const hasPsql = spawnSync('psql', ['--version']).status === 0;
if (!hasPsql) console.warn('There is no psql on the PATH: its tests are skipped.');

export const testWithPsql = hasPsql ? test : test.skip;

/** A script of sql/, sent by psql as its header says. */
export function psqlScript(
  name: 'add_security_fields' | 'remove_security_fields',
  url: string,
): Promise<Outcome> {
  return run('psql', ['-X', '-v', 'ON_ERROR_STOP=1', '-f', `sql/${name}.sql`, url], {});
}
