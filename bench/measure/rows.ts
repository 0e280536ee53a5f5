import { figure, rowCount } from '../statistics';
import * as tools from '../tools';
import { total } from '../watcher';
import { byTool, type Context, type FiguresByKey, inRotation, withKey, withTable } from './context';

/** How long ACCESS EXCLUSIVE is held, by the number of rows. */
export async function measureByRows(context: Context): Promise<FiguresByKey> {
  let found: FiguresByKey = {};
  for (const rows of context.isFull ? [1_000, 100_000, 1_000_000, 10_000_000] : [1_000, 1_000_000]) {
    context.say(`lock time: ${rowCount(rows)} rows`);
    await withTable(context, rows, async (table) => {
      const held = await inRotation(context, tools.distinct(true), table, async (tool) => {
        const [, { readersBlocked }] = await context.watcher.during(table.oids, () =>
          tools.runTool(tool, table.database.url),
        );
        return total(readersBlocked);
      });
      found = withKey(found, rows, byTool(held, figure));
    });
  }
  return found;
}
