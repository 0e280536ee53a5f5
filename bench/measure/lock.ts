import { startProxy, type TcpProxy } from '../../test/support/proxy';
import { type Figure, figure } from '../statistics';
import type { Table } from '../table';
import * as tools from '../tools';
import { total } from '../watcher';
import { byTool, type Context, inRotation, withTable } from './context';

/** Milliseconds that ACCESS EXCLUSIVE is held, by tool and then by rows or by delay each way. */
export type LockFigures = Record<string, Record<string, Figure>>;

export interface RoundTrips {
  readonly total: Figure;
  readonly underLock: Figure;
}

export async function measureLockByRows(context: Context): Promise<LockFigures> {
  const found: LockFigures = {};
  for (const rows of context.isFull ? [1_000, 100_000, 1_000_000, 10_000_000] : [1_000, 1_000_000]) {
    context.say(`lock time: ${rows.toLocaleString('en')} rows`);
    await withTable(context, rows, async (table) => {
      const held = await inRotation(context, tools.distinct(true), table, async (tool) => {
        const [, watched] = await context.watcher.during(table.oids, () =>
          tools.runTool(tool, table.database.url),
        );
        return total(watched.readersBlocked);
      });
      add(found, String(rows), byTool(held, figure));
    });
  }
  return found;
}

export async function measureLockByDelay(
  context: Context,
): Promise<{ lockByDelay: LockFigures; roundTrips: Record<string, RoundTrips> }> {
  const lockByDelay: LockFigures = {};
  const roundTrips: Record<string, RoundTrips> = {};
  await withTable(context, 1_000, async (table) => {
    for (const delay of context.isFull ? [0, 5, 20, 50] : [0, 20, 50]) {
      context.say(`lock time: ${delay} ms of delay each way`);
      const proxy = await startProxy(table.database.url, { delay });
      const runs = await inRotation(context, tools.distinct(context.isFull || delay === 20), table, (tool) =>
        throughProxy(context, table, proxy, tool),
      );
      await proxy.close();
      add(
        lockByDelay,
        String(delay),
        byTool(runs, (values) => figure(values.map(({ held }) => held))),
      );
      // Without a delay nobody can say on which side of a lock's end a request was.
      if (delay === 0) continue;
      Object.assign(
        roundTrips,
        byTool(runs, (values) => ({
          total: figure(values.map((run) => run.roundTrips)),
          underLock: figure(values.map((run) => run.underLock)),
        })),
      );
    }
  });
  return { lockByDelay, roundTrips };
}

async function throughProxy({ watcher }: Context, table: Table, proxy: TcpProxy, tool: tools.Tool) {
  proxy.reset();
  const clock = await watcher.clock();
  const [, { readersBlocked }] = await watcher.during(table.oids, () =>
    tools.runTool(tool, proxy.url(table.database.url)),
  );
  const within = (time: number) => readersBlocked.some(({ seen }) => seen.first < time && time < seen.last);
  return {
    held: total(readersBlocked),
    roundTrips: proxy.counted.roundTrips,
    underLock: proxy.requests.filter((time) => within(time + clock)).length,
  };
}

function add(found: LockFigures, key: string, figures: Record<string, Figure>) {
  for (const [tool, value] of Object.entries(figures)) found[tool] = { ...found[tool], [key]: value };
}
