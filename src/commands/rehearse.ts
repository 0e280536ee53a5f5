import { Command } from 'commander';
import { rehearse } from '../../migrations/0016_add_security_fields';
import { inspect } from './inspect';
import { main } from './main';

const program = new Command('rehearse')
  .description(
    'Does what the migration would do, and rolls back: the same locks, for as long as the real thing.',
  )
  .addHelpText('after', '\nExit code: 0 it would be done, 1 it would be refused, 2 could not try.')
  .option('--down', 'the way back')
  .option('--json', 'for programs')
  .action(async ({ down, json }: { down?: true; json?: true }) => {
    const { refusal } = await inspect((database) => rehearse(database, down ? 'down' : 'up'), json);
    process.exitCode = refusal === null ? 0 : 1;
  });

main(program, 2);
