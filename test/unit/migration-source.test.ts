import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MigrationSource } from '../../src/migration-source';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'migrations-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

async function names(...files: string[]) {
  for (const file of files) writeFileSync(join(folder, file), '');
  const source = new MigrationSource(folder);
  return (await source.getMigrations()).map((migration) => source.getMigrationName(migration));
}

test('a name is the file without extension, in order', async () => {
  expect(await names('0002_b.ts', '0001_a.js', '0010_c.ts')).toEqual(['0001_a', '0002_b', '0010_c']);
});

test('what a compiler leaves beside it, and tests, are no migrations', async () => {
  expect(
    await names('0001_a.js', '0001_a.d.ts', '0001_a.js.map', '0001_a.test.ts', 'README.md', '.0001_a.ts.swp'),
  ).toEqual(['0001_a']);
});

test('one that is there in both languages is one migration', async () => {
  expect(await names('0001_a.ts', '0001_a.js')).toEqual(['0001_a']);
});

test('it is loaded only when it is asked for', async () => {
  writeFileSync(join(folder, '0001_a.js'), 'exports.up = () => "up";');
  writeFileSync(join(folder, '0002_b.js'), 'throw new Error("loaded");');
  const source = new MigrationSource(folder);
  const [first] = await source.getMigrations();
  expect(await source.getMigration(first as NonNullable<typeof first>)).toMatchObject({
    up: expect.any(Function),
  });
});
