import { type Figure, figure } from '../statistics';
import * as tools from '../tools';
import { byTool, type Context, inRotation, withTable } from './context';

export interface CommandFigures {
  /** Milliseconds, the whole process. */
  readonly wall: Figure;
  /** MB. */
  readonly memory: Figure;
}

/** How long the command takes on 1,000 rows, and the most memory that it has. */
export async function measureCommand(context: Context): Promise<Record<string, CommandFigures>> {
  context.say('commands: wall time and memory, 1,000 rows');
  return withTable(context, 1_000, async (table) => {
    const runs = await inRotation(context, tools.all, table, (tool) =>
      tools.runTool(tool, table.database.url),
    );
    return byTool(runs, (values) => ({
      wall: figure(values.map(({ wall }) => wall)),
      memory: figure(values.map(({ memory }) => memory)),
    }));
  });
}
