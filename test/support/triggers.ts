import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseError } from 'pg';
import type { TestDatabase } from './database';
import { project } from './knex';
import { migrate, noticesOf } from './routes';

const audit = `
  CREATE TABLE audit (LIKE user_profiles);
  CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS`;

/** The trigger `audit`, which fires then. */
export const fire = (when: string) => `CREATE TRIGGER audit ${when} EXECUTE PROCEDURE audit()`;
export const eachRow = fire('AFTER INSERT OR UPDATE OR DELETE ON user_profiles FOR EACH ROW');

/** With its function, which does this, and a table `audit` as user_profiles is now. */
export const doing = (body: string, when = eachRow, result = 'coalesce(NEW, OLD)') =>
  `${audit} $$ BEGIN ${body}; RETURN ${result}; END $$; ${when}`;

/** The same, once for a statement. */
export const doingOnce = (body: string, when: string) =>
  doing(body, fire(`${when} FOR EACH STATEMENT`), 'NULL');

/** What a refusal says: by Knex one text, by a script in fields. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  const { message, detail, hint }: DatabaseError = await work.then(
    () => Promise.reject(new Error('It was not refused.')),
    (reason) => reason,
  );
  return [message, detail, hint].filter(Boolean).join('\n');
}

/** Ways to go on although a write would fail. */
export const ignoring: [string, (database: TestDatabase) => Promise<string[]>][] = [
  [
    'MIGRATION_IGNORE_DEPENDENTS=1',
    async ({ url }) => {
      process.env['MIGRATION_IGNORE_DEPENDENTS'] = '1';
      try {
        return await migrate(url, 'up');
      } finally {
        delete process.env['MIGRATION_IGNORE_DEPENDENTS'];
      }
    },
  ],
  [
    'ignore_dependents at the top of the script',
    async ({ client }) => {
      const text = readFileSync(join(project, 'sql/add_security_fields.sql'), 'utf8');
      const knowing = text.replace(/(ignore_dependents CONSTANT .*:= )false/, '$1true');
      expect(knowing).not.toBe(text);
      return noticesOf(client, knowing);
    },
  ],
];
