import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import knexConfig from '../../knexfile';
import { readEnvFile } from '../../src/database/env-file';
import { UserError } from '../../src/user-error';

const folder = mkdtempSync(join(tmpdir(), 'env-'));
const path = join(folder, '.env');
afterAll(() => rmSync(folder, { recursive: true }));

/** The variables that reading this file adds to those that are there. */
function read(text: string, before: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  writeFileSync(path, text);
  const { env } = process;
  process.env = { ...before };
  try {
    readEnvFile(path);
    return process.env;
  } finally {
    process.env = env;
  }
}

test.each([
  ['DB_PASSWORD=s3cret#2024', 's3cret#2024'],
  ['DB_PASSWORD=s3cret # mine', 's3cret # mine'],
  ['DB_PASSWORD="a#b"', 'a#b'],
  ["DB_PASSWORD='a b'", 'a b'],
  ['  DB_PASSWORD =  a b\t', 'a b'],
  ['DB_PASSWORD="a\\nb"', 'a\\nb'],
  ['DB_PASSWORD="a" # comment', '"a" # comment'],
  ['DB_PASSWORD="', '"'],
  ['DB_PASSWORD=it\'s "so"', 'it\'s "so"'],
  ['DB_PASSWORD=x\'"`\\n', 'x\'"`\\n'],
  ['DB_PASSWORD=a=b', 'a=b'],
  ['DB_PASSWORD=', ''],
  ['DB_PASSWORD=first\nDB_PASSWORD=second', 'second'],
  ['DB_PASSWORD="begins\r\nDB_NAME=d"\r\n', '"begins'],
])('as the application reads it: %j', (text, value) => {
  expect(read(text)['DB_PASSWORD']).toBe(value);
});

test.each(['#DB_PASSWORD=x', 'DB_PASSWORD: x', 'DB_PASSWORD', '=x', 'a b', 'a: b=c'])(
  'says nothing: %s',
  (text) => {
    expect(read(text)).toEqual({});
  },
);

test('any value', () => {
  const value = fc.stringMatching(/^[ -~ä€\u2028\t]*$/);
  const noise = fc.constantFrom('', '#', "'", '"', '`', '\\', '\\n', "\\'", ' #', '$HOME', '$(x)');
  fc.assert(
    fc.property(fc.array(fc.oneof(value, noise), { maxLength: 6 }), (parts) => {
      const text = parts.join('').trim();
      const isQuoted = text.length > 1 && /^["']/.test(text) && text.at(0) === text.at(-1);
      expect(read(`A=1\nDB_PASSWORD=${text}\nB=2`)).toEqual({
        A: '1',
        B: '2',
        DB_PASSWORD: isQuoted ? text.slice(1, -1) : text,
      });
    }),
    { numRuns: 2000 },
  );
});

test('variables that are there go before it, also empty ones', () => {
  const there = { DB_NAME: 'theirs', DB_PASSWORD: '' };
  expect(read('DB_NAME=d\nDB_PASSWORD=p\nDB_USER=u', there)).toEqual({ ...there, DB_USER: 'u' });
});

test('what PowerShell writes is no text in UTF-8', () => {
  writeFileSync(path, Buffer.from('\ufeffDATABASE_URL=postgres://h/d\r\n', 'utf16le'));
  expect(() => readEnvFile(path)).toThrow(/ cannot be read: it is no text in UTF-8\.$/);
});

test('a folder that is named is no file', async () => {
  process.env['DOTENV_CONFIG_PATH'] = folder;
  await expect(knexConfig()).rejects.toThrow(`DOTENV_CONFIG_PATH is ${folder}, and no file is there.`);
});

const onLinux = process.platform === 'linux' ? test : test.skip;
onLinux('a file that cannot be read', () => {
  expect(() => readEnvFile('/proc/self/mem')).toThrow(/^\/proc\/self\/mem cannot be read: /);
});

test('what the application would not find is an error that names the line, and not the value', () => {
  const attempt = () => read('A=1\nexport DB_PASSWORD=secret');
  expect(attempt).toThrow(UserError);
  expect(attempt).toThrow(/\.env, line 2: (?![\s\S]*secret).*without/);
  expect(read('export PATH_TO=x\nDB_HOST=h')).toMatchObject({ DB_HOST: 'h' });
});

test('no file, or a folder', () => {
  readEnvFile(join(folder, 'none'));
  readEnvFile(folder);
});
