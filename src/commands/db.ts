import { existsSync, rmSync } from 'node:fs';
import { Command } from 'commander';
import { embeddedCluster } from '../database/embedded';
import { stop } from '../database/server';
import { main } from './main';

const program = new Command('db').description('The embedded PostgreSQL server of this project.');

program
  .command('stop')
  .description('stop it; the next command that needs it starts it again')
  .action(() => {
    console.log(stop(embeddedCluster()) ? 'Stopped.' : 'It was not running.');
  });

program
  .command('reset')
  .description('stop it and delete its data; the next command that needs it begins with an empty database')
  .action(() => {
    const cluster = embeddedCluster();
    stop(cluster);
    const isThere = existsSync(cluster.data);
    rmSync(cluster.data, { recursive: true, force: true });
    console.log(isThere ? 'Deleted.' : 'There was nothing to delete.');
  });

main(program);
