import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Knex } from 'knex';
import { plan, up } from '../../migrations/0016_add_security_fields';
import { freshDatabase, loadState, type TestDatabase } from '../support/database';
import { knexFor, type Outcome, project, run } from '../support/knex';

const folder = mkdtempSync(join(tmpdir(), 'squawk-'));
const statements = join(folder, 'statements.sql');
afterAll(() => rmSync(folder, { recursive: true }));

let database: TestDatabase;
let knex: Knex;
beforeAll(async () => {
  jest.spyOn(console, 'log').mockImplementation(() => undefined);
  const sent: string[] = [];
  for (const state of ['0015', '0015-described', 'both-names', 'repaired-by-hand'] as const) {
    database = await freshDatabase();
    knex = await knexFor(database.url);
    try {
      await loadState(database.client, state);
      if (state === '0015')
        await database.client.query('ALTER TABLE user_profiles ADD failed_login_attempts integer');
      const steps = async (direction: 'up' | 'down') => (await plan(knex, direction)).steps;
      sent.push(...(await steps('up')));
      await up(knex);
      sent.push(...(await steps('down')));
    } finally {
      await knex.destroy();
      await database.close();
    }
  }
  writeFileSync(statements, `${sent.join('\n')}\n`);
});

function squawk(...args: readonly string[]): Promise<Outcome> {
  return run(process.execPath, ['node_modules/squawk-cli/js/bin/squawk', ...args], {});
}

test('squawk finds nothing in the scripts, nor in any statement that the program sends', async () => {
  const { code, stdout, stderr } = await squawk(
    'sql/add_security_fields.sql',
    'sql/remove_security_fields.sql',
    statements,
  );
  expect({ code, stdout, stderr }).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('Found 0 issues'),
  });
});

test('it would find something', async () => {
  const planted = join(folder, 'planted.sql');
  writeFileSync(planted, 'CREATE INDEX profiles_external ON user_profiles (external_id);\n');
  const { code, stdout } = await squawk(planted);
  expect(code).toBe(1);
  expect(stdout).toMatch('require-concurrent-index-creation');
});

test('every rule that is ignored is one that would complain', async () => {
  const config = readFileSync(join(project, '.squawk.toml'), 'utf8');
  const ignored = [...config.matchAll(/^ {2}"([a-z-]+)",$/gm)].map(([, rule]) => rule);
  const bare = join(folder, 'bare.toml');
  writeFileSync(bare, 'pg_version = "9.5"\n');
  const { stdout } = await squawk('--config', bare, '--reporter', 'gcc', statements);
  const complaints = [...stdout.matchAll(/(?:warning|error): ([a-z-]+) /g)].map(([, rule]) => rule);
  expect([...new Set(complaints)].sort()).toEqual([...ignored].sort());
});
