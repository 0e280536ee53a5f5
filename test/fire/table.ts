import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { start } from '../../src/database/server';
import { locksLeft } from '../support/catalog';
import { connect, freshDatabase, type TestDatabase } from '../support/database';
import { beginKnex, knexCommand, type Outcome, type Running } from '../support/knex';
import { startProxy, type TcpProxy } from '../support/proxy';
import { freePort, startTestServer, type TestServer, testCluster } from '../support/server';
import { isFull } from './numbers';
import { digest, loadProfiles, shapeOf, useNewColumns } from './profiles';

export type Command = 'migrate:latest' | 'migrate:down';
export const commands: readonly Command[] = ['migrate:latest', 'migrate:down'];

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** user_profiles with many values on a server of its own, and commands on it by way of a proxy, to be disturbed. */
export class TableUnderFire {
  private constructor(
    private readonly server: TestServer,
    readonly database: TestDatabase,
    readonly proxy: TcpProxy,
  ) {
    ({ client: this.client, admin: this.admin } = database);
  }

  client: Client;
  admin: Client;
  /** Every value of the table, in the shape after. */
  private values = '';
  private onMessage: (n: number, bytes: number) => void = () => undefined;

  static async start(): Promise<TableUnderFire> {
    const server = await startTestServer(testCluster({ port: String(await freePort()) }));
    const database = await freshDatabase(server.url);
    const proxy = await startProxy(database.url, { onMessage: (n, bytes) => table.onMessage(n, bytes) });
    const table = new TableUnderFire(server, database, proxy);
    await table.fill();
    return table;
  }

  async stop(): Promise<void> {
    await this.proxy.close();
    await this.server.remove();
  }

  private async fill() {
    // One in twenty has values: enough for batches.
    await loadProfiles(this.client, isFull ? 100_000 : 40_000);
    await this.succeeds('migrate:latest');
    await useNewColumns(this.client);
    this.values = await digest(this.client);
  }

  /** A table has 1,600 column numbers, and each time there and back takes eight of them. */
  async renew(): Promise<void> {
    const { rows } = await this.client.query(
      "SELECT max(attnum)::int AS used FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass",
    );
    if (rows[0].used < 1500) return;
    await this.admin.query(
      `DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION ${this.database.owner}`,
    );
    await this.fill();
  }

  knex(command: string): Promise<Outcome> {
    return knexCommand([command], { DATABASE_URL: this.database.url });
  }

  private async succeeds(command: string) {
    const { code, stderr } = await this.knex(command);
    expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: '' });
  }

  async bringTo(shape: 'before' | 'after'): Promise<void> {
    if ((await shapeOf(this.client)) !== shape)
      await this.succeeds(shape === 'before' ? 'migrate:down' : 'migrate:latest');
  }

  /** Begins a command by way of the proxy, on a table in the shape that it starts from. */
  async begin(command: Command): Promise<Running> {
    await this.bringTo(command === 'migrate:latest' ? 'before' : 'after');
    this.proxy.reset();
    return beginKnex([command], { DATABASE_URL: this.proxy.url(this.database.url) });
  }

  /** Resolves when a command sends its n-th message, or the one with the program in it; or when it ends. */
  async reaches({ outcome }: Running, which: number | 'program'): Promise<void> {
    const message = new Promise<void>((resolve) => {
      this.onMessage = (n, bytes) => {
        if (which === 'program' ? bytes > 10_000 : n === which) resolve();
      };
    });
    await Promise.race([message, outcome]);
    this.onMessage = () => undefined;
  }

  /** Holds a lock that reading takes, so that a command waits until it is let go. Not as the owner, who may have limits. */
  async reading<T>(work: () => Promise<T>): Promise<T> {
    const reader = await connect(this.database.adminUrl);
    await reader.query('BEGIN; SELECT 1 FROM user_profiles LIMIT 1');
    try {
      return await work();
    } finally {
      await reader.end().catch(() => undefined);
    }
  }

  /** What `pg_ctl stop -m immediate` and a start do. */
  async restartServer(): Promise<void> {
    const { cluster } = this.server;
    const pid = Number(readFileSync(join(cluster.data, 'postmaster.pid'), 'utf8').split('\n')[0]);
    process.kill(pid, 'SIGQUIT');
    // Until it is gone it passes for a server that runs.
    while (isAlive(pid)) await sleep(5);
    await start(cluster);
    this.client = await connect(this.database.url);
    this.admin = await connect(this.database.adminUrl);
  }

  /** What is documented for afterwards, and what must be true then. */
  async expectRecovery(command: Command, unlock = command === 'migrate:down'): Promise<void> {
    await this.expectNoLocks();
    await shapeOf(this.client);
    if (unlock) await this.succeeds('migrate:unlock');
    await this.succeeds(command);
    expect(await shapeOf(this.client)).toBe(command === 'migrate:latest' ? 'after' : 'before');
    if (command === 'migrate:down') await this.succeeds('migrate:latest');
    await this.expectValues();
    const { rows } = await this.client.query(
      'SELECT name, is_locked FROM knex_migrations, knex_migrations_lock',
    );
    expect(rows).toEqual([{ name: '0016_add_security_fields', is_locked: 0 }]);
  }

  async expectValues(): Promise<void> {
    expect(await digest(this.client)).toBe(this.values);
  }

  /** A second after the end of a command no lock of ours is left. */
  async expectNoLocks(): Promise<void> {
    for (const until = performance.now() + 1000; ; await sleep(20)) {
      const left = await locksLeft(this.client);
      if (left.length === 0) return;
      if (performance.now() > until) expect(left).toEqual([]);
    }
  }
}
