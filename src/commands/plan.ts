import { Command } from 'commander';
import { knex } from 'knex';
import knexConfig from '../../knexfile';
import { plan } from '../../migrations/0016_add_security_fields';
import { main } from './main';

const program = new Command('plan')
  .description('Shows what the migration would do, without doing it or making anybody wait.')
  .addHelpText('after', '\nExit code: 0 nothing or some steps, 1 conflicts, 2 could not look.')
  .option('--down', 'what taking it back would do')
  .option('--json', 'for programs')
  .action(async (options: { down?: true; json?: true }) => {
    const database = knex(await knexConfig());
    try {
      const found = await plan(database, options.down ? 'down' : 'up');
      const { lines, ...data } = found;
      console.log(options.json ? JSON.stringify(data, null, 2) : lines.join('\n'));
      process.exitCode = found.conflicts.length > 0 ? 1 : 0;
    } finally {
      await database.destroy();
    }
  });

main(program, 2);
