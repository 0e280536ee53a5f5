import { rmSync } from 'node:fs';
import { Command } from 'commander';
import { embeddedCluster } from '../database/embedded';
import { stop } from '../database/server';
import { main } from './main';

const program = new Command('db').description('The embedded PostgreSQL server of this project.');

program
  .command('stop')
  .description('stop it; the next command that needs it starts it again')
  .action(async () => {
    console.log((await stop(embeddedCluster().data)) ? 'Stopped.' : 'It was not running.');
  });

program
  .command('reset')
  .description('stop it and delete its data; the next command that needs it begins with an empty database')
  .action(async () => {
    const { data } = embeddedCluster();
    await stop(data);
    rmSync(data, { recursive: true, force: true });
    console.log('Deleted.');
  });

main(program);
