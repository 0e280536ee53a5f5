import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError } from '../user-error';

const above = join(__dirname, '../..');
/** The folder of package.json; once this file is compiled to dist/, one further up. */
export const project = existsSync(join(above, 'package.json')) ? above : dirname(above);

/**
 * Adds what a .env file says to the process's own variables, which go before it. It may be the Django application's
 * file, so a value is what python-decouple takes it for: all that follows the =, without a pair of quotes around it.
 * (dotenv's own parser would end it at a #, go on to the next line for an open quote, and take \n for a line feed.)
 *
 * @returns false where there is no such file
 * @throws UserError where the application would not find the name, or the file cannot be read
 */
export function readEnvFile(path: string): boolean {
  // A folder of this name is Python's.
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? true) return false;
  const said: Record<string, string> = {};
  for (const [i, line] of linesOf(path).entries()) {
    const [, name, text = ''] = /^\s*((?:export\s+)?[\w.-]+)\s*=\s*(.*?)\s*$/s.exec(line) ?? [];
    if (!name) continue;
    if (/^export\s+(DATABASE_|DB_|PG|MIGRATION|NODE_ENV)/.test(name))
      throw new UserError(
        `${path}, line ${i + 1}: to the application "export" is a part of the name. Write it without.`,
      );
    said[name] = /^(["'])(.*)\1$/s.exec(text)?.[2] ?? text;
  }
  // Late: where there is no file it would only take time.
  (require('dotenv') as typeof import('dotenv')).populate(process.env, said);
  return true;
}

function linesOf(path: string): string[] {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.includes('\0')) throw new Error('it is no text in UTF-8');
    return text.split(/\r\n?|\n/);
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as Error).message}.`);
  }
}
