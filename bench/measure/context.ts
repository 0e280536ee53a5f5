import { setTimeout as sleep } from 'node:timers/promises';
import { type Figure, rotated } from '../statistics';
import { type Table, tableWith } from '../table';
import type { Tool } from '../tools';
import type { Watcher } from '../watcher';

/** What measurements work with. */
export interface Context {
  readonly serverUrl: string;
  readonly watcher: Watcher;
  readonly rounds: number;
  readonly isFull: boolean;
  /** Shows a line about where we are. */
  readonly say: (line: string) => void;
}

/**
 * Measures every tool once a round, in another order each round, on one table in state 0015. The first round, in
 * which caches fill, does not count.
 */
export async function inRotation<T>(
  { rounds }: Pick<Context, 'rounds'>,
  tools: readonly Tool[],
  table: Table,
  measure: (tool: Tool) => Promise<T>,
): Promise<Map<Tool, T[]>> {
  const found = new Map<Tool, T[]>(tools.map((tool) => [tool, []]));
  for (let round = -1; round < rounds; round++) {
    for (const tool of rotated(tools, round + 1)) {
      const measured = await measure(tool);
      if (round >= 0) found.get(tool)?.push(measured);
      await table.reset();
    }
  }
  return found;
}

/**
 * The same for what is mostly waiting: all tools of a round at once, each on a table of its own, so that they meet
 * the same machine and a round takes no longer than its longest wait.
 */
export async function inRotationAtOnce<T>(
  context: Pick<Context, 'serverUrl' | 'rounds'>,
  tools: readonly Tool[],
  rows: number,
  measure: (table: Table, tool: Tool) => Promise<T>,
): Promise<Map<Tool, T[]>> {
  const made = tools.map(async (tool) => [tool, await tableWith(rows, context.serverUrl)] as const);
  const tables = new Map(await Promise.all(made));
  const found = new Map<Tool, T[]>(tools.map((tool) => [tool, []]));
  for (let round = 0; round < context.rounds; round++) {
    await Promise.all(
      rotated(tools, round).map(async (tool, i) => {
        const table = tables.get(tool) as Table;
        // Not in step: their processes would start at the same moment.
        await sleep(i * apart);
        found.get(tool)?.push(await measure(table, tool));
        await table.reset();
      }),
    );
  }
  for (const { database } of tables.values()) await database.close();
  return found;
}

const apart = 400;

/** Runs `work` with a table of so many rows, and drops it afterwards. */
export async function withTable<T>(
  { serverUrl }: Pick<Context, 'serverUrl'>,
  rows: number,
  work: (table: Table) => Promise<T>,
): Promise<T> {
  const table = await tableWith(rows, serverUrl);
  try {
    return await work(table);
  } finally {
    await table.database.close();
  }
}

/** Figures by tool, and then by rows or by delay. */
export type FiguresByKey = Readonly<Record<string, Readonly<Record<string, Figure>>>>;

/** The same with one more key for these tools. */
export function withKey(found: FiguresByKey, key: number, figures: Record<string, Figure>): FiguresByKey {
  const added = Object.entries(figures).map(([tool, figure]) => [tool, { ...found[tool], [key]: figure }]);
  return { ...found, ...Object.fromEntries(added) };
}

/** A figure for each tool, by its id. */
export function byTool<T, F>(
  measured: ReadonlyMap<Tool, readonly T[]>,
  figures: (values: readonly T[]) => F,
) {
  return Object.fromEntries([...measured].map(([{ id }, values]) => [id, figures(values)]));
}
