import { startProxy, type TcpProxy } from '../../test/support/proxy';
import { type Figure, figure } from '../statistics';
import type { Table } from '../table';
import * as tools from '../tools';
import { total } from '../watcher';
import { byTool, type Context, type FiguresByKey, inRotation, withKey, withTable } from './context';

export interface DelayFigures {
  /** How long ACCESS EXCLUSIVE is held, by the delay each way. */
  readonly lockByDelay: FiguresByKey;
  /** How long the whole command takes. */
  readonly commandByDelay: FiguresByKey;
  readonly roundTrips: Record<string, { readonly total: Figure; readonly underLock: Figure }>;
}

/** What a slow network does: 1,000 rows, through a proxy that adds a delay and counts. */
export async function measureByDelay(context: Context): Promise<DelayFigures> {
  let found: DelayFigures = { lockByDelay: {}, commandByDelay: {}, roundTrips: {} };
  await withTable(context, 1_000, async (table) => {
    for (const delay of context.isFull ? [0, 5, 20, 50] : [0, 20, 50]) {
      context.say(`lock time: ${delay} ms of delay each way`);
      const proxy = await startProxy(table.database.url, { delay });
      const compared = tools.distinct(context.isFull || delay === 20);
      const runs = await inRotation(context, compared, table, (tool) =>
        throughProxy(context, table, proxy, tool),
      );
      await proxy.close();
      const figures = (of: 'held' | 'wall') => byTool(runs, (values) => figure(values.map((run) => run[of])));
      const roundTrips = byTool(runs, (values) => ({
        total: figure(values.map((run) => run.roundTrips)),
        underLock: figure(values.map((run) => run.underLock)),
      }));
      found = {
        lockByDelay: withKey(found.lockByDelay, delay, figures('held')),
        commandByDelay: withKey(found.commandByDelay, delay, figures('wall')),
        // Without a delay nobody can say on which side of a lock's end a request was.
        roundTrips: { ...found.roundTrips, ...(delay > 0 && roundTrips) },
      };
    }
  });
  return found;
}

async function throughProxy({ watcher }: Context, table: Table, proxy: TcpProxy, tool: tools.Tool) {
  proxy.reset();
  const clock = await watcher.clock();
  const [{ wall }, { readersBlocked }] = await watcher.during(table.oids, () =>
    tools.runTool(tool, proxy.url(table.database.url)),
  );
  const within = (time: number) => readersBlocked.some(({ seen }) => seen.first < time && time < seen.last);
  return {
    wall,
    held: total(readersBlocked),
    roundTrips: proxy.counted.roundTrips,
    underLock: proxy.requests.filter((time) => within(time + clock)).length,
  };
}
