import { Command } from 'commander';
import { knex } from 'knex';
import knexConfig from '../../knexfile';
import { verify } from '../../migrations/0016_add_security_fields';
import { main } from './main';

const program = new Command('verify')
  .description('Compares the live table with the declaration.')
  .addHelpText('after', '\nExit code: 0 as declared, 1 differs, 2 could not look.')
  .option('--role <name>', 'also: may this role read and write every one of the columns')
  .option('--json', 'for programs')
  .action(async (options: { role?: string; json?: true }) => {
    const database = knex(await knexConfig());
    try {
      const found = await verify(database, options.role);
      const { lines, ...data } = found;
      console.log(options.json ? JSON.stringify(data, null, 2) : lines.join('\n'));
      process.exitCode = found.asDeclared ? 0 : 1;
    } finally {
      await database.destroy();
    }
  });

main(program, 2);
