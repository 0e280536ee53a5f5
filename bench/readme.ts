import type { Results } from './measured';
import { rowCount } from './statistics';
import { count, keysOf, markdown, time } from './tables';
import { type Target, targets } from './targets';
import { oursTypeScript, plainKnexTranspiled } from './tools';

const begin = '<!-- Written by npm run bench: begin -->';
const end = '<!-- Written by npm run bench: end -->';

/** README.md with the section that these results give. */
export function withMeasured(readme: string, results: Results): string {
  const [before, after] = [readme.indexOf(begin), readme.indexOf(end)];
  if (before < 0 || after < before) throw new Error(`README.md needs the lines\n${begin}\n${end}`);
  return `${readme.slice(0, before + begin.length)}\n${measured(results)}\n${readme.slice(after)}`;
}

/** The charts and a few figures. */
export function measured(results: Results): string {
  const { lockByDelay, lockByRows, lockByStandby, waits, wayBack, command, commandByDelay, roundTrips } =
    results;
  const most = keysOf(lockByRows).at(-1) ?? '';
  const shown = ['ours', 'knex', 'node-pg-migrate', 'separate-alters', 'one-alter'];
  const rows: [string, (tool: string) => string][] = [
    ['the table is locked', (tool) => time(lockByDelay[tool]?.['0'])],
    ['... with 20 ms to the server', (tool) => time(lockByDelay[tool]?.['20'])],
    [`... with ${rowCount(most)} rows`, (tool) => time(lockByRows[tool]?.[most])],
    ['... with a standby that confirms after 100 ms', (tool) => time(lockByStandby[tool]?.['100'])],
    ['round trips while it is locked', (tool) => count(roundTrips[tool]?.underLock)],
    ['longest wait of the application', (tool) => time(waits.underLoad[tool])],
    ['... behind a transaction of 8 s', (tool) => time(waits.behindTransaction[tool])],
    ['... in a batch with 5 s of other work', (tool) => time(waits.batch[tool])],
    ['values lost by taking it back and forth', (tool) => lost(wayBack[tool])],
    ['the whole command', (tool) => time(command[tool]?.wall)],
    ['... from TypeScript, unchecked', (tool) => time(command[inTypeScript[tool] ?? '']?.wall)],
    ['... with 20 ms to the server', (tool) => time(commandByDelay[tool]?.['20'])],
  ];
  return `
![${chartTitles.delay}](bench/charts/delay.svg)
![${chartTitles.rows}](bench/charts/rows.svg)
![${chartTitles.standby}](bench/charts/standby.svg)
![${chartTitles.waits}](bench/charts/waits.svg)

${markdown({
  title: '',
  tools: shown.map((tool) => results.labels[tool] ?? tool),
  rows: rows.map(([what, cell]): [string, ...string[]] => [what, ...shown.map((tool) => cell(tool) || '-')]),
})}

Medians of ${results.rounds} (bars: the middle half), in rotation, on ${results.machine}, load
${results.load} before; PostgreSQL ${results.versions['PostgreSQL']}, Node.js ${results.versions['Node.js']}. All begin with the table as the application's migration 0015 leaves it, and end with the same shape.
"One ALTER" is the floor: what the server itself needs. \`npm run bench\` measures it on your machine.

${reached(targets(results))}
`;
}

/** The same tools from TypeScript. */
const inTypeScript: Readonly<Record<string, string>> = {
  ours: oursTypeScript.id,
  knex: plainKnexTranspiled.id,
};

/** How many targets are met, and which are not. */
function reached(all: readonly Target[]): string {
  const missed = all
    .filter(({ isMet }) => !isMet)
    .map(({ what, found, limit }) => `Missed: ${what}, ${found} (at most ${limit}).`);
  const met = `${all.length - missed.length} of the ${all.length} targets in \`bench/targets.ts\` are met.`;
  return [met, ...missed].join('\n');
}

/** What the reader should see. */
export const chartTitles = {
  delay: 'A slow network makes our lock no longer',
  rows: 'A large table is locked no longer than a small one',
  standby: 'A distant standby makes our lock no longer',
  waits: 'The application never waits long for us',
};

function lost(figures: Results['wayBack'][string] | undefined): string {
  return figures ? `${count(figures.valuesLost)} of ${count(figures.valuesWritten)}` : '';
}
