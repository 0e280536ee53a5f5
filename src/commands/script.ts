import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { script } from '../../migrations/0016_add_security_fields';
import { main } from './main';

const names = { up: 'add_security_fields.sql', down: 'remove_security_fields.sql' } as const;

const program = new Command('script')
  .description('Renders the migration and the way back as two SQL scripts.')
  .argument('[folder]', 'where to', '.')
  .action((folder: string) => {
    for (const direction of ['up', 'down'] as const) {
      writeFileSync(join(folder, names[direction]), script(direction, names));
    }
  });

main(program);
