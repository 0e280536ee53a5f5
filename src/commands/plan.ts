import { Command } from 'commander';
import { plan } from '../../migrations/0016_add_security_fields';
import { inspect } from './inspect';
import { main } from './main';

const program = new Command('plan')
  .description('Shows what the migration would do, without doing it or making anybody wait.')
  .addHelpText('after', '\nExit code: 0 nothing or some steps, 1 conflicts, 2 could not look.')
  .option('--down', 'what taking it back would do')
  .option('--json', 'for programs')
  .action(async ({ down, json }: { down?: true; json?: true }) => {
    const { conflicts } = await inspect((database) => plan(database, down ? 'down' : 'up'), json);
    process.exitCode = conflicts.length > 0 ? 1 : 0;
  });

main(program, 2);
