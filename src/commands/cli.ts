#!/usr/bin/env node
// What `npx add-security-fields plan` and the like run: each command is a program of its own, beside this one.
const commands = ['plan', 'rehearse', 'verify', 'script'];
const [command = '--help'] = process.argv.splice(2, 1);

if (commands.includes(command)) require(`./${command}`);
else {
  console.log(`Usage: add-security-fields ${commands.join('|')}, each with --help\n
The migration that adds security fields to user_profiles. Where the database is: DATABASE_URL or DB_HOST, ...`);
  process.exitCode = command === '--help' ? 0 : 2;
}
