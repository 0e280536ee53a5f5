import { startPair } from '../standby';
import { figure } from '../statistics';
import * as tools from '../tools';
import { total, Watcher } from '../watcher';
import { byTool, type Context, type FiguresByKey, inRotation, withKey, withTable } from './context';

/**
 * How long ACCESS EXCLUSIVE is held, by the milliseconds until a synchronous standby has confirmed a COMMIT (0: there
 * is none): what a COMMIT waits for, its locks wait for.
 */
export async function measureByStandby(
  context: Context,
  settings: Readonly<Record<string, string>>,
): Promise<FiguresByKey> {
  let found: FiguresByKey = {};
  const pair = await startPair(settings);
  const watcher = await Watcher.connect(pair.url);
  try {
    await withTable({ serverUrl: pair.url }, 1_000, async (table) => {
      for (const after of context.isFull ? [0, 20, 100] : [0, 100]) {
        context.say(`lock time: a synchronous standby that confirms after ${after} ms`);
        const held = await pair.confirmed(after, () =>
          inRotation(context, tools.distinct(context.isFull), table, async (tool) => {
            const [, { readersBlocked }] = await watcher.during(table.oids, () =>
              tools.runTool(tool, table.database.url),
            );
            return total(readersBlocked);
          }),
        );
        found = withKey(found, after, byTool(held, figure));
      }
    });
    return found;
  } finally {
    await watcher.close();
    await pair.remove();
  }
}
