import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../../test/support/database';
import { waitsDuring } from '../load';
import { type Figure, figure, rowCount } from '../statistics';
import type { Table } from '../table';
import * as tools from '../tools';
import { byTool, type Context, inRotation, inRotationAtOnce, withTable } from './context';

/** Milliseconds: the longest wait of a statement of the application, by tool. */
export type WaitFigures = Record<string, Figure>;

const transaction = 8_000;

export async function measureUnderLoad(context: Context): Promise<WaitFigures> {
  const rows = context.isFull ? 1_000_000 : 100_000;
  context.say(`the application's longest wait: under load, ${rowCount(rows)} rows`);
  return withTable(context, rows, async (table) => {
    const compared = [tools.nothing, ...tools.distinct(context.isFull)];
    return byTool(await inRotation(context, compared, table, (tool) => waits(table, tool, 'up')), figure);
  });
}

/** A report reads the table and keeps its transaction open for eight seconds: whoever wants the table has to wait. */
export async function measureBehindTransaction(context: Context): Promise<WaitFigures> {
  context.say("the application's longest wait: behind a transaction of 8 s");
  const rows = context.isFull ? 1_000_000 : 1_000;
  const runs = await inRotationAtOnce(context, tools.distinct(true), rows, async (table, tool) => {
    const { url } = table.database;
    const met = await waitsDuring(url, rows, async () => {
      const report = await connect(url);
      await report.query('BEGIN');
      await report.query('SELECT count(*) FROM user_profiles WHERE user_id < 1000');
      await Promise.all([tools.runTool(tool, url), sleep(transaction).then(() => report.end())]);
    });
    return met.longest;
  });
  return byTool(runs, figure);
}

/** Another migration of the same batch takes five seconds. */
export async function measureBatch(context: Context): Promise<WaitFigures> {
  context.say("the application's longest wait: a batch with a migration of 5 s");
  const compared = tools.all.filter(({ batch }) => batch);
  return byTool(
    await inRotationAtOnce(context, compared, 1_000, (table, tool) => waits(table, tool, 'batch')),
    figure,
  );
}

async function waits({ database: { url }, rows }: Table, tool: tools.Tool, which: 'up' | 'batch') {
  return (await waitsDuring(url, rows, () => tools.runTool(tool, url, which))).longest;
}
