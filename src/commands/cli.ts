#!/usr/bin/env node
import { Command } from 'commander';

// What `npx add-security-fields` runs: each command is a program of its own, in the file beside this one.
new Command('add-security-fields')
  .description(
    'The migration that adds security fields to user_profiles. Where the database is: DATABASE_URL or DB_HOST, ...',
  )
  .command('plan', 'what the migration would do, without doing it', { executableFile: 'plan' })
  .command('rehearse', 'does what the migration would do, and rolls back', { executableFile: 'rehearse' })
  .command('verify', 'compares the live table with the declaration', { executableFile: 'verify' })
  .command('script', 'writes the SQL scripts', { executableFile: 'script' })
  // A mistake in the arguments: 1 is what a command of these says by itself.
  .exitOverride(({ code, exitCode }) =>
    process.exit(code.includes('executeSubCommand') ? exitCode : exitCode && 2),
  )
  .parse();
