import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { script } from '../../migrations/0016_add_security_fields';
import { UserError } from '../user-error';
import { main } from './main';

const names = { up: 'add_security_fields.sql', down: 'remove_security_fields.sql' } as const;

const program = new Command('script')
  .description('Renders the migration and the way back as two SQL scripts.')
  .argument('[folder]', 'where to; it is made if it is not there', 'sql')
  .action((folder: string) => {
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

main(program);
