import { type Outcome, run } from '../support/knex';

/** A script of sql/, sent by psql as its header says. */
export function psqlScript(
  name: 'add_security_fields' | 'remove_security_fields',
  url: string,
): Promise<Outcome> {
  return run('psql', ['-X', '-v', 'ON_ERROR_STOP=1', '-f', `sql/${name}.sql`, url], {});
}
