import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { script } from '../../migrations/0016_add_security_fields';
import { main } from './main';

const folder = join(__dirname, '../../sql');

const program = new Command('script')
  .description('Renders the migration and the way back as SQL scripts, into sql/.')
  .action(() => {
    writeFileSync(join(folder, 'add_security_fields.sql'), script('up'));
    writeFileSync(join(folder, 'remove_security_fields.sql'), script('down'));
  });

main(program);
