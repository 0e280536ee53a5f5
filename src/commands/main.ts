import type { Command } from 'commander';
import type { Knex } from 'knex';

/** Runs a command line. An error ends it with this exit code; of a UserError only the message is shown. */
export async function main(program: Command, exitCode = 1): Promise<void> {
  // Commander itself would exit with 1 for a mistake in the arguments, which means something else here.
  for (const command of [program, ...program.commands])
    command.exitOverride((error) => process.exit(error.exitCode && exitCode));
  try {
    await program.parseAsync();
  } catch (error) {
    console.error(error instanceof Error ? error.stack : error);
    // The driver leaves a connection open where it has no password for it, until the server's authentication_timeout.
    process.exit(exitCode);
  }
}

/** Works with the configured database. */
export async function withDatabase<T>(work: (database: Knex) => Promise<T>): Promise<T> {
  // Late: help and scripts need no database.
  const { knex } = require('knex') as typeof import('knex');
  const { default: knexConfig } = require('../../knexfile') as typeof import('../../knexfile');
  const database = knex(await knexConfig());
  return work(database).finally(() => database.destroy());
}
