import { existsSync, rmSync } from 'node:fs';
import { Argument, Command } from 'commander';
import { embeddedCluster } from '../database/embedded';
import { stop } from '../database/server';
import { main } from './main';

const program = new Command('db')
  .description('Stops the embedded PostgreSQL server of this project, and with reset deletes its data.')
  .addArgument(new Argument('<what>').choices(['stop', 'reset']))
  .action((what: string) => {
    const cluster = embeddedCluster();
    const wasRunning = stop(cluster);
    if (what === 'stop') return console.log(wasRunning ? 'Stopped.' : 'It was not running.');
    console.log(existsSync(cluster.data) ? 'Deleted.' : 'There was nothing to delete.');
    rmSync(cluster.data, { recursive: true, force: true });
  });

main(program);
