import { Command } from 'commander';
import { verify } from '../../migrations/0016_add_security_fields';
import { inspect } from './inspect';
import { main } from './main';

const program = new Command('verify')
  .description('Compares the live table with the declaration.')
  .addHelpText('after', '\nExit code: 0 as declared, 1 differs, 2 could not look.')
  .option('--role <name>', 'also: may this role read and write every one of the columns')
  .option('--json', 'for programs')
  .action(async (options: { role?: string; json?: true }) => {
    const { asDeclared } = await inspect((database) => verify(database, options.role), options.json);
    process.exitCode = asDeclared ? 0 : 1;
  });

main(program, 2);
