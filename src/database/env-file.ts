import { existsSync, readFileSync } from 'node:fs';
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
  if (!existsSync(path)) return;
  const lines = readFileSync(path, 'utf8').split(/\r\n?|\n/);
  populate(process.env, parse(lines.map((line, i) => quoted(line, `${path}, line ${i + 1}`)).join('\n')));
}

function quoted(line: string, where: string): string {
  const [, name = '', text = ''] = /^\s*([^#=\s][^=]*?)\s*=\s*(.*?)\s*$/s.exec(line) ?? [];
  if (/^export\s+(DATABASE_|DB_|PG|MIGRATION)/.test(name)) {
    throw new UserError(
      `${where}: the application takes "export" for a part of the name. Write the line without it.`,
    );
  }
  const value = /^(["'])(.*)\1$/s.exec(text)?.[2] ?? text;
  const quote = ["'", '`', '"'].find((mark) => !value.includes(mark));
  if (!quote || (quote === '"' && /\\[nr]/.test(value)))
    throw new UserError(
      `${where}: a value with all of ' " and \` in it cannot be read here. Set ${name} in the environment.`,
    );
  return name && `${name}=${quote}${value}${quote}`;
}
