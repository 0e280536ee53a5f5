import { readFileSync, statSync } from 'node:fs';
import { parse, populate } from 'dotenv';
import { UserError } from '../user-error';

/**
 * Adds what a .env file says to the process's own variables, which go before it. It may be the Django application's
 * file, so a value is what python-decouple takes it for: all that follows the =, without a pair of quotes around it.
 * dotenv would end it at a #, go on to the next line for a quote that is open, and take \n for a line feed.
 *
 * @throws UserError where a line cannot be read so
 */
export function readEnvFile(path: string): void {
  // A folder of this name is Python's.
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? true) return;
  const lines = readFileSync(path, 'utf8').split(/\r\n?|\n/);
  populate(process.env, parse(lines.map((line, i) => quoted(line, `${path}, line ${i + 1}`)).join('\n')));
}

function quoted(line: string, where: string): string {
  const [, shell, name, text = ''] = /^\s*(export\s+)?([\w.-]+)\s*=\s*(.*?)\s*$/s.exec(line) ?? [];
  if (!name) return '';
  if (shell && /^(DATABASE_|DB_|PG|MIGRATION)/.test(name))
    throw new UserError(`${where}: to the application "export" is a part of the name. Write it without.`);
  const value = /^(["'])(.*)\1$/s.exec(text)?.[2] ?? text;
  // In double quotes dotenv takes \n for a line feed.
  const quote = ["'", '`', '"'].find((mark) => !value.includes(mark));
  if (quote && !(quote === '"' && /\\[nr]/.test(value))) return `${name}=${quote}${value}${quote}`;
  throw new UserError(`${where}: such quotes within a value cannot be read. Set ${name} in the environment.`);
}
