import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { connect } from '../test/support/database';

/** What the application met: milliseconds. */
export interface Met {
  readonly longest: number;
  readonly statements: number;
}

const workers = 8;
const pause = 20;

/** What eight workers of the application wait for while `work` runs. Each statement is a transaction of its own. */
export async function waitsDuring<T>(url: string, rows: number, work: () => Promise<T>): Promise<Met> {
  const clients = await Promise.all(Array.from({ length: workers }, () => connect(url)));
  const met = { longest: 0, statements: 0 };
  let isDone = false;
  const worker = async (client: Client, turn: number) => {
    for (let i = turn; !isDone; i++) {
      const user = 1 + Math.floor(Math.random() * rows);
      const started = performance.now();
      await client.query(i % 4 === 0 ? write : read, [user]);
      met.longest = Math.max(met.longest, performance.now() - started);
      met.statements++;
      await sleep(pause);
    }
  };
  const working = clients.map(worker);
  // The first statements of a connection are slower: they fill the backend's catalog caches.
  await sleep(300);
  met.longest = 0;
  try {
    await work();
    await sleep(100);
  } finally {
    isDone = true;
    await Promise.all(working);
    await Promise.all(clients.map((client) => client.end()));
  }
  return met;
}

const read = 'SELECT * FROM user_profiles WHERE user_id = $1';
const write = 'UPDATE user_profiles SET updated_at = now() WHERE user_id = $1';
