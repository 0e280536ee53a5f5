import type { Client } from 'pg';
import { type Figure, figure, rowCount } from '../statistics';
import { added, type Table } from '../table';
import * as tools from '../tools';
import { total } from '../watcher';
import { byTool, type Context, withTable } from './context';

export interface WayBackFigures {
  /** Milliseconds. */
  readonly down: { readonly readersBlocked: Figure; readonly writersBlocked: Figure };
  readonly latest: { readonly readersBlocked: Figure; readonly writersBlocked: Figure };
  readonly valuesWritten: Figure;
  readonly valuesLost: Figure;
}

/** `down` with values in 5 % of the rows, and `latest` after it. */
export async function measureWayBack(context: Context): Promise<Record<string, WayBackFigures>> {
  const rows = context.isFull ? 1_000_000 : 100_000;
  context.say(`down and latest with values in 5 % of ${rowCount(rows)} rows`);
  const found = new Map<tools.Tool, Measured[]>();
  for (const tool of [tools.ours, tools.plainKnex]) {
    await withTable(context, rows, async (table) => {
      await tools.runTool(tool, table.database.url);
      const runs: Measured[] = [];
      for (let round = 0; round < context.rounds; round++)
        runs.push(await thereAndBack(context, table, tool));
      found.set(tool, runs);
    });
  }
  return byTool(found, (runs) => ({
    down: blocked(runs.map(({ down }) => down)),
    latest: blocked(runs.map(({ latest }) => latest)),
    valuesWritten: figure(runs.map(({ written }) => written)),
    valuesLost: figure(runs.map(({ lost }) => lost)),
  }));
}

interface Blocked {
  readonly readers: number;
  readonly writers: number;
}

interface Measured {
  readonly down: Blocked;
  readonly latest: Blocked;
  readonly written: number;
  readonly lost: number;
}

async function thereAndBack({ watcher }: Context, table: Table, tool: tools.Tool): Promise<Measured> {
  const { admin, url } = table.database;
  const written = await writeValues(admin);
  const step = async (which: 'down' | 'up'): Promise<Blocked> => {
    const [, { readersBlocked, writersBlocked }] = await watcher.during(table.oids, () =>
      tools.runTool(tool, url, which),
    );
    return { readers: total(readersBlocked), writers: total(writersBlocked) };
  };
  const down = await step('down');
  const latest = await step('up');
  return { down, latest, written, lost: written - (await valuesThere(admin)) };
}

/** Values of their own in all new columns of every twentieth row. Gives how many. */
async function writeValues(admin: Client): Promise<number> {
  await admin.query(`
    UPDATE user_profiles SET ${Object.entries(values)
      .map(([name, value]) => `${name} = ${value}`)
      .join(', ')}
    WHERE user_id % 20 = 0`);
  await admin.query('VACUUM user_profiles');
  return valuesThere(admin);
}

async function valuesThere(admin: Client): Promise<number> {
  const { rows } = await admin.query(`
    SELECT ${Object.entries(values)
      .map(([name, value]) => `count(*) FILTER (WHERE ${name} = ${value})`)
      .join(' + ')} AS count
    FROM user_profiles WHERE user_id % 20 = 0`);
  return Number(rows[0].count);
}

const values = Object.fromEntries(
  added.map((name) => {
    if (name === 'failed_login_attempts') return [name, 'user_id'];
    const isText = /token$|provider|external/.test(name);
    return [
      name,
      isText
        ? `'${name.slice(0, 8)} ' || user_id`
        : `timestamptz '2030-01-01Z' + user_id * interval '1 minute'`,
    ];
  }),
);

function blocked(steps: readonly Blocked[]) {
  return {
    readersBlocked: figure(steps.map(({ readers }) => readers)),
    writersBlocked: figure(steps.map(({ writers }) => writers)),
  };
}
