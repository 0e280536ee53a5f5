import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { script } from '../../migrations/0016_add_security_fields';
import { main } from './main';

const names = { up: 'add_security_fields.sql', down: 'remove_security_fields.sql' } as const;

const program = new Command('script')
  .description('Renders the migration and the way back as two SQL scripts.')
  .argument('[folder]', 'where to', '.')
  .option(
    '--page <file>',
    'also renews the plain statements in a page, between <!-- manual --> and the next comment',
  )
  .action((folder: string, { page }: { page?: string }) => {
    for (const direction of ['up', 'down'] as const) {
      writeFileSync(join(folder, names[direction]), script(direction, names));
    }
    if (page !== undefined) {
      const statements = `\`\`\`sql\n${script('manual', names)}\n\`\`\`\n`;
      const text = readFileSync(page, 'utf8');
      writeFileSync(
        page,
        text.replace(/(?<=<!-- manual -->\n).*?(?=<!--)/s, () => statements),
      );
    }
  });

main(program);
