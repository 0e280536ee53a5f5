import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Knex } from 'knex';
import type { Client } from 'pg';
import * as security from '../../migrations/0016_add_security_fields';
import type { Environment } from '../../src/database/connection';
import type { Direction, TableChange } from '../../src/table-change';
import type { TestDatabase } from './database';
import { knexCommand, knexFor, project } from './knex';

/** A way to send the program. Gives what it said on the way, a line a step. */
export interface Route {
  readonly name: string;
  readonly up: (database: TestDatabase) => Promise<string[]>;
  readonly down: (database: TestDatabase) => Promise<string[]>;
}

/** `npx knex migrate:latest` and `migrate:down`. */
export const commandLine: Route = {
  name: 'knex',
  up: (database) => knexOk(database, 'migrate:latest'),
  down: (database) => knexOk(database, 'migrate:down'),
};

/** `sql/*.sql`, through node-postgres. */
export const scripts: Route = {
  name: 'script',
  up: (database) => sendScript(database, 'add_security_fields'),
  down: (database) => sendScript(database, 'remove_security_fields'),
};

/** The migration's own functions, in this process. */
export const functions: Route = {
  name: 'up() and down()',
  up: (database) => migrate(database.url, 'up'),
  down: (database) => migrate(database.url, 'down'),
};

/** Calls `up` or `down` of a change, 0016 by default, and gives what it said. */
export async function migrate(
  url: string,
  direction: Direction,
  change: Pick<TableChange, Direction> = security,
  env: Environment = {},
): Promise<string[]> {
  const knex = await knexFor(url, {}, env);
  try {
    return await migrateWith(knex, direction, change);
  } finally {
    await knex.destroy();
  }
}

/** The same with a Knex at hand, or a transaction of it. */
export async function migrateWith(
  knex: Knex,
  direction: Direction,
  change: Pick<TableChange, Direction> = security,
): Promise<string[]> {
  const log = jest.spyOn(console, 'log').mockImplementation(() => undefined);
  try {
    await change[direction](knex);
    return log.mock.calls.flat();
  } finally {
    log.mockRestore();
  }
}

async function knexOk({ url }: TestDatabase, command: string): Promise<string[]> {
  const { code, stdout, stderr } = await knexCommand([command], { DATABASE_URL: url });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.split('\n').filter((line) => line.startsWith('user_profiles: '));
}

function sendScript({ client }: TestDatabase, name: string): Promise<string[]> {
  return noticesOf(client, readFileSync(join(project, 'sql', `${name}.sql`), 'utf8'));
}

/** Sends statements, and gives what the server says meanwhile. */
export async function noticesOf(client: Client, statements: string): Promise<string[]> {
  const said: string[] = [];
  const onNotice = ({ message }: { message?: string | undefined }) => said.push(message ?? '');
  client.on('notice', onNotice);
  try {
    await client.query(statements);
    return said;
  } finally {
    client.off('notice', onNotice);
  }
}
