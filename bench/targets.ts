import type { Results } from './results';

export interface Target {
  readonly what: string;
  readonly limit: number;
  readonly found: number;
  readonly isMet: boolean;
}

/** What the change is meant to reach, as ratios within one run. */
export function targets(results: Results): Target[] {
  const { lockByDelay, lockByRows, waits, command, roundTrips, wayBack } = results;
  const lock = (tool: string, delay: number) => lockByDelay[tool]?.[delay]?.median ?? Number.NaN;
  const rows = Object.keys(lockByRows['ours'] ?? {}).map(Number);
  const [fewest, most] = [Math.min(...rows), Math.max(...rows)];
  const lockOfRows = (count: number) => lockByRows['ours']?.[count]?.median ?? Number.NaN;
  const wall = (tool: string) => command[tool]?.wall.median ?? Number.NaN;
  const wait = (of: keyof Results['waits'], tool: string) => waits[of][tool]?.median ?? Number.NaN;
  return [
    target('round trips under the lock', 0, roundTrips['ours']?.underLock.high ?? Number.NaN),
    target('lock time, 50 ms of delay : none', 1.5, lock('ours', 50) / lock('ours', 0)),
    target('lock time at 20 ms of delay, ours : plain Knex', 0.1, lock('ours', 20) / lock('knex', 20)),
    target('lock time without delay, ours : one ALTER', 3, lock('ours', 0) / lock('one-alter', 0)),
    target(
      `lock time, ${most.toLocaleString('en')} rows : ${fewest.toLocaleString('en')}`,
      1.5,
      lockOfRows(most) / lockOfRows(fewest),
    ),
    target(
      'longest wait behind a transaction, ours : plain Knex',
      0.1,
      wait('behindTransaction', 'ours') / wait('behindTransaction', 'knex'),
    ),
    target(
      'longest wait in a slow batch, ours : plain Knex',
      0.1,
      wait('batch', 'ours') / wait('batch', 'knex'),
    ),
    target('command from dist/, ours : plain Knex in JavaScript', 1.15, wall('ours') / wall('knex')),
    target(
      'command from TypeScript, ours : plain Knex with type checking',
      0.5,
      wall('ours-ts') / wall('knex-ts-checked'),
    ),
    target('values lost by down and latest', 0, wayBack['ours']?.valuesLost.high ?? Number.NaN),
  ];
}

function target(what: string, limit: number, found: number): Target {
  return { what, limit, found: Number(found.toPrecision(3)), isMet: found <= limit };
}
