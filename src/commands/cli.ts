#!/usr/bin/env node
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Knex } from 'knex';
import { plan, rehearse, script, verify } from '../../migrations/0016_add_security_fields';
import { UserError } from '../user-error';
import { main, withDatabase } from './main';

const program = new Command('add-security-fields')
  .description('The migration that adds security fields to user_profiles.')
  .addHelpText('after', '\nWhere the database is: DATABASE_URL or DB_HOST, ...');

program
  .command('plan')
  .description('Shows what the migration would do, without doing it or making anybody wait.')
  .addHelpText('after', '\nExit code: 0 nothing or some steps, 1 conflicts, 2 could not look.')
  .option('--down', 'what taking it back would do')
  .option('--json', 'for programs')
  .action(async ({ down, json }: { down?: true; json?: true }) => {
    const { conflicts } = await show((database) => plan(database, down ? 'down' : 'up'), json);
    process.exitCode = conflicts.length > 0 ? 1 : 0;
  });

program
  .command('rehearse')
  .description(
    'Does what the migration would do, and rolls back: the same locks, for as long as the real thing.',
  )
  .addHelpText('after', '\nExit code: 0 it would be done, 1 it would be refused, 2 could not try.')
  .option('--down', 'the way back')
  .option('--json', 'for programs')
  .action(async ({ down, json }: { down?: true; json?: true }) => {
    const { refusal } = await show((database) => rehearse(database, down ? 'down' : 'up'), json);
    process.exitCode = refusal === null ? 0 : 1;
  });

program
  .command('verify')
  .description('Compares the live table with the declaration.')
  .addHelpText('after', '\nExit code: 0 as declared, 1 differs, 2 could not look.')
  .option('--role <name>', 'also: may this role read and write every one of the columns')
  .option('--json', 'for programs')
  .action(async ({ role, json }: { role?: string; json?: true }) => {
    const { asDeclared } = await show((database) => verify(database, role), json);
    process.exitCode = asDeclared ? 0 : 1;
  });

program
  .command('script')
  .description('Renders the migration and the way back as two SQL scripts.')
  .argument('[folder]', 'where to; it is made if it is not there', 'sql')
  .action((folder: string) => {
    const names = { up: 'add_security_fields.sql', down: 'remove_security_fields.sql' };
    for (const direction of ['up', 'down'] as const) {
      const file = join(folder, names[direction]);
      try {
        mkdirSync(folder, { recursive: true });
        writeFileSync(file, script(direction, names));
      } catch (error) {
        throw new UserError(`Cannot write ${file}: ${(error as Error).message}`);
      }
    }
  });

/** Looks at the configured database and prints what was found: as JSON, or its lines for a reader. */
async function show<Found extends { readonly lines: readonly string[] }>(
  look: (database: Knex) => Promise<Found>,
  asJson = false,
): Promise<Found> {
  const found = await withDatabase(look);
  const { lines, ...data } = found;
  console.log(asJson ? JSON.stringify(data, null, 2) : lines.join('\n'));
  return found;
}

if (process.argv.length === 2) process.argv.push('--help');
main(program, process.argv[2] === 'script' ? 1 : 2);
