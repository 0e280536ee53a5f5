import type { Results } from './measured';
import { type Figure, rowCount } from './statistics';

/** A table whose columns are tools: the first cell of a row says what was measured. */
export interface Table {
  readonly title: string;
  readonly tools: readonly string[];
  readonly rows: readonly (readonly [what: string, ...figures: string[]])[];
}

/** Milliseconds, as a reader wants them. */
export function time(figure: Figure | undefined): string {
  if (!figure) return '';
  const { median } = figure;
  if (median >= 1_000) return `${(median / 1_000).toFixed(1)} s`;
  return `${median < 10 ? median.toFixed(1) : Math.round(median)} ms`;
}

export const count = (figure: Figure | undefined) =>
  figure ? Math.round(figure.median).toLocaleString('en') : '';

/** Everything that was measured, for the terminal. */
export function allTables(results: Results): Table[] {
  const { command, commandByDelay, roundTrips, lockByDelay, lockByRows, lockByStandby, waits, wayBack } =
    results;
  const table = (
    title: string,
    of: Readonly<Record<string, unknown>>,
    rows: [string, (tool: string) => string][],
  ) => ({
    title,
    tools: Object.keys(of).map((tool) => results.labels[tool] ?? tool),
    rows: rows.map(([what, cell]): [string, ...string[]] => [what, ...Object.keys(of).map(cell)]),
  });
  return [
    table('The whole command, 1,000 rows', command, [
      ['wall time', (tool) => time(command[tool]?.wall)],
      ...keysOf(commandByDelay).map((delay): [string, (tool: string) => string] => [
        `wall time, ${delay} ms of delay each way`,
        (tool) => time(commandByDelay[tool]?.[delay]),
      ]),
      ['memory, MB', (tool) => count(command[tool]?.memory)],
    ]),
    table('ACCESS EXCLUSIVE is held', lockByRows, [
      ...keysOf(lockByDelay).map((delay): [string, (tool: string) => string] => [
        `1,000 rows, ${delay} ms of delay each way`,
        (tool) => time(lockByDelay[tool]?.[delay]),
      ]),
      ...keysOf(lockByRows).map((rows): [string, (tool: string) => string] => [
        `${rowCount(rows)} rows`,
        (tool) => time(lockByRows[tool]?.[rows]),
      ]),
      ...keysOf(lockByStandby).map((after): [string, (tool: string) => string] => [
        `1,000 rows, ${after === '0' ? 'no standby' : `a standby that confirms after ${after} ms`}`,
        (tool) => time(lockByStandby[tool]?.[after]),
      ]),
      ['round trips', (tool) => count(roundTrips[tool]?.total)],
      ['round trips under the lock', (tool) => count(roundTrips[tool]?.underLock)],
    ]),
    table(
      'Longest wait of a statement of the application',
      { ...waits.underLoad, ...waits.behindTransaction },
      [
        ['under load', (tool) => time(waits.underLoad[tool])],
        ['behind a transaction of 8 s', (tool) => time(waits.behindTransaction[tool])],
        ['a batch with a migration of 5 s', (tool) => time(waits.batch[tool])],
      ],
    ),
    table('down, and latest after it', wayBack, [
      ['down: readers blocked', (tool) => time(wayBack[tool]?.down.readersBlocked)],
      ['down: writers blocked', (tool) => time(wayBack[tool]?.down.writersBlocked)],
      ['latest: readers blocked', (tool) => time(wayBack[tool]?.latest.readersBlocked)],
      ['latest: writers blocked', (tool) => time(wayBack[tool]?.latest.writersBlocked)],
      ['values written', (tool) => count(wayBack[tool]?.valuesWritten)],
      ['values lost', (tool) => count(wayBack[tool]?.valuesLost)],
    ]),
  ];
}

/** The second level's keys, in the order in which they were measured. */
export function keysOf(figures: Readonly<Record<string, Readonly<Record<string, unknown>>>>): string[] {
  return [...new Set(Object.values(figures).flatMap((byKey) => Object.keys(byKey)))].sort(
    (a, b) => Number(a) - Number(b),
  );
}

export function terminal({ title, tools, rows }: Table): string {
  const lines = [['', ...tools], ...rows];
  const widths = tools.map((_, i) => Math.max(...lines.map((line) => line[i + 1]?.length ?? 0)));
  const first = Math.max(...lines.map(([what = '']) => what.length));
  const aligned = lines.map(([what = '', ...cells]) =>
    [what.padEnd(first), ...cells.map((cell, i) => cell.padStart(widths[i] ?? 0))].join('  '),
  );
  return [title, ...aligned].join('\n');
}

export function markdown({ tools, rows }: Table): string {
  const lines = [['', ...tools], ['---', ...tools.map(() => '---:')], ...rows];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
