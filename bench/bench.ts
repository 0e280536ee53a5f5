import { execSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { connect } from '../test/support/database';
import { project } from '../test/support/knex';
import { startTestServer, testCluster } from '../test/support/server';
import { charts } from './charts';
import { measureCommand } from './measure/command';
import type { Context } from './measure/context';
import { measureByDelay } from './measure/delay';
import { measureByRows } from './measure/rows';
import { measureByStandby } from './measure/standby';
import { measureBatch, measureBehindTransaction, measureUnderLoad } from './measure/waits';
import { measureWayBack } from './measure/way-back';
import { machine, type Results } from './measured';
import { withMeasured } from './readme';
import { allTables, terminal } from './tables';
import { targets } from './targets';
import * as tools from './tools';
import { Watcher } from './watcher';

/** Everything else is as PostgreSQL comes. No autovacuum, because it would come to one tool and not to another. */
const settings = { fsync: 'on', autovacuum: 'off', max_wal_size: '4GB', max_connections: '200' };

const program = new Command('bench')
  .description(
    'Measures this change beside what else would be used for it, on an embedded PostgreSQL server.',
  )
  .option('--full', 'all sizes and delays, all tools everywhere')
  .option('--rounds <n>', 'measurements of each thing', Number, 7)
  .option('--out <folder>', 'writes results.json and the charts there, and leaves README.md alone')
  .action(async ({ full = false, rounds, out }: { full?: boolean; rounds: number; out?: string }) => {
    if (!existsSync(join(__dirname, 'node_modules')))
      execSync('npm ci', { cwd: __dirname, stdio: 'inherit' });
    const results = await measure(full, rounds);
    for (const table of allTables(results)) console.log(`\n${terminal(table)}`);
    console.log();
    for (const { what, limit, found, isMet, noise } of targets(results)) {
      console.log(`${isMet ? 'met   ' : 'MISSED'}  ${what}: ${found}, at most ${limit} (${noise})`);
    }
    await write(results, out ?? __dirname);
    if (out === undefined) {
      const readme = join(project, 'README.md');
      writeFileSync(readme, withMeasured(readFileSync(readme, 'utf8'), results));
    }
  });

async function measure(isFull: boolean, rounds: number): Promise<Results> {
  const [load = 0] = loadavg();
  const server = await startTestServer(testCluster(settings));
  const watcher = await Watcher.connect(server.url);
  const context: Context = {
    serverUrl: server.url,
    watcher,
    rounds,
    isFull,
    say: (line) => console.log(`${new Date().toTimeString().slice(0, 8)} ${line}`),
  };
  try {
    const command = await measureCommand(context);
    const byDelay = await measureByDelay(context);
    const lockByRows = await measureByRows(context);
    const lockByStandby = await measureByStandby(context, settings);
    const underLoad = await measureUnderLoad(context);
    const [behindTransaction, batch] = await Promise.all([
      measureBehindTransaction(context),
      measureBatch(context),
    ]);
    const wayBack = await measureWayBack(context);
    return {
      machine: machine(),
      load: Number(load.toFixed(1)),
      versions: await versions(server.url),
      settings,
      rounds,
      resolution: watcher.resolution,
      labels: Object.fromEntries([...tools.all, tools.nothing].map(({ id, label }) => [id, label])),
      command,
      ...byDelay,
      lockByRows,
      lockByStandby,
      waits: { underLoad, behindTransaction, batch },
      wayBack,
    };
  } finally {
    await watcher.close();
    await server.remove();
  }
}

async function versions(url: string): Promise<Results['versions']> {
  const client = await connect(url);
  const { rows } = await client.query('SHOW server_version');
  await client.end();
  const version = (name: string) =>
    JSON.parse(readFileSync(join(project, name, 'package.json'), 'utf8')).version;
  return {
    PostgreSQL: rows[0].server_version,
    'Node.js': process.versions.node,
    Knex: version('node_modules/knex'),
    'node-postgres': version('node_modules/pg'),
    'node-pg-migrate': version('bench/node_modules/node-pg-migrate'),
  };
}

async function write(results: Results, folder: string) {
  mkdirSync(join(folder, 'charts'), { recursive: true });
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  for (const [name, svg] of Object.entries(await charts(results))) {
    writeFileSync(join(folder, 'charts', `${name}.svg`), svg);
  }
}

program.parseAsync().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
