import { existsSync, rmSync } from 'node:fs';
import { Command } from 'commander';
import type { Knex } from 'knex';
import { verify } from '../../migrations/0016_add_security_fields';
import { connectionFrom } from '../database/connection';
import { embeddedCluster } from '../database/embedded';
import { stop } from '../database/server';
import { UserError } from '../user-error';
import { main, withDatabase } from './main';

const program = new Command('sample').description('The embedded PostgreSQL server of this project.');

program
  .command('start')
  .description('Shows the whole story on an embedded PostgreSQL server: the error, the migration, the cure.')
  .action(() => withDatabase(demonstrate));

program
  .command('stop')
  .description('Stops it.')
  .action(() => console.log(stop(embeddedCluster()) ? 'Stopped.' : 'It was not running.'));

program
  .command('reset')
  .description('Stops it, and deletes its data.')
  .action(() => {
    const cluster = embeddedCluster();
    stop(cluster);
    console.log(existsSync(cluster.data) ? 'Deleted.' : 'There was nothing to delete.');
    rmSync(cluster.data, { recursive: true, force: true });
  });

async function demonstrate(database: Knex) {
  if (process.env['NODE_ENV'] === 'production' || connectionFrom(process.env))
    throw new UserError(
      'A demonstration, for the embedded server alone: with a database configured, or NODE_ENV=production, it does\n' +
        'nothing. To migrate your database: npx knex migrate:latest',
    );

  title('A PostgreSQL server, with the table as the application left it');
  const [completed] = await database.migrate.list();
  if (completed.length > 0) {
    console.log('The migration is there from the last time. It is taken back first:');
    await database.migrate.rollback(undefined, true);
  }
  await database.seed.run();
  const people = database('user_profiles').select('id', 'mfa_enabled', 'backup_codes').orderBy('id');
  console.table(await people);

  title('The application stores a profile');
  await firstVisit(database);

  title('npx knex migrate:latest');
  await database.migrate.latest();

  title('The application tries again');
  await firstVisit(database);

  title('npm run verify');
  const { asDeclared, lines } = await verify(database);
  console.log(lines.join('\n'));
  if (!asDeclared) process.exitCode = 1;

  title('The server goes on running. Try');
  console.log(`npx knex migrate:list                             what is done and what is pending
npx knex migrate:down 0016_add_security_fields    take it back, and lose nothing
npm run plan                                      what would be done, without doing it
npx knex migrate:latest                           do it again
npm run db:stop                                   stop the server; npm run db:reset deletes its data`);
}

/** What the application sends for a new profile (the first name that is missing is the one in the error). */
const insert = `INSERT INTO user_profiles (user_id, role, created_at, updated_at, mfa_enabled, email_verified,
    failed_login_attempts, account_locked_until, password_reset_token, mfa_backup_codes)
SELECT u.id, 'patient', now(), now(), false, false, 0, NULL, NULL, NULL
FROM auth_user u LEFT JOIN user_profiles p ON p.user_id = u.id WHERE p.id IS NULL`;

async function firstVisit(database: Knex) {
  console.log(insert);
  const visit = await database.transaction();
  try {
    await visit.raw(insert);
    console.log('It succeeds (and is rolled back, to leave the sample as it was).');
  } catch (error) {
    // Knex puts the statement in front of the message.
    console.log(`ProgrammingError: ${(error as Error).message.replace(`${insert} - `, '')}`);
  }
  await visit.rollback();
}

const title = (text: string) => console.log(`\n=== ${text} ===\n`);

main(program);
