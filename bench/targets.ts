import type { Results } from './measured';
import { type Figure, rowCount } from './statistics';

export interface Target {
  readonly what: string;
  readonly limit: number;
  readonly found: number;
  readonly isMet: boolean;
  /** Between what the middle half of the measurements lies. */
  readonly noise: string;
}

/** What the change is meant to reach, as ratios within one run. */
export function targets(results: Results): Target[] {
  const { lockByDelay, lockByRows, lockByStandby, waits, command, roundTrips, wayBack } = results;
  const lock = (tool: string, delay: number) => lockByDelay[tool]?.[delay] ?? missing;
  const confirmed = (after: number) => lockByStandby['ours']?.[after] ?? missing;
  const rows = Object.keys(lockByRows['ours'] ?? {}).map(Number);
  const [fewest, most] = [Math.min(...rows), Math.max(...rows)];
  const lockOfRows = (count: number) => lockByRows['ours']?.[count] ?? missing;
  const wall = (tool: string) => command[tool]?.wall ?? missing;
  const waitBeside = (of: keyof Results['waits']) =>
    [waits[of]['ours'] ?? missing, waits[of]['knex'] ?? missing] as const;
  return [
    none('round trips under the lock', roundTrips['ours']?.underLock ?? missing),
    ratio('lock time without delay, ours : one ALTER', 2, lock('ours', 0), lock('one-alter', 0)),
    ratio('lock time without delay, ours : plain Knex', 1, lock('ours', 0), lock('knex', 0)),
    ratio('lock time at 20 ms of delay, ours : plain Knex', 0.1, lock('ours', 20), lock('knex', 20)),
    ratio('lock time, 50 ms of delay : none', 1.5, lock('ours', 50), lock('ours', 0)),
    ratio('lock time, a standby that confirms after 100 ms : none', 1.5, confirmed(100), confirmed(0)),
    ratio(
      `lock time, ${rowCount(most)} rows : ${rowCount(fewest)}`,
      1.5,
      lockOfRows(most),
      lockOfRows(fewest),
    ),
    ratio(
      'longest wait behind a transaction, ours : plain Knex',
      oneThirtieth,
      ...waitBeside('behindTransaction'),
    ),
    ratio('longest wait in a slow batch, ours : plain Knex', oneThirtieth, ...waitBeside('batch')),
    ratio('command from dist/, ours : plain Knex in JavaScript', 1.15, wall('ours'), wall('knex')),
    ratio(
      'command from TypeScript, ours : plain Knex, neither with type checking',
      1.2,
      wall('ours-ts'),
      wall('knex-ts-transpiled'),
    ),
    ratio(
      'command from TypeScript, ours : plain Knex with type checking',
      0.45,
      wall('ours-ts'),
      wall('knex-ts-checked'),
    ),
    none('values lost by down and latest', wayBack['ours']?.valuesLost ?? missing),
  ];
}

const oneThirtieth = 0.0333;

const missing: Figure = { median: Number.NaN, low: Number.NaN, high: Number.NaN, n: 0 };

function ratio(what: string, limit: number, one: Figure, other: Figure): Target {
  const found = Number((one.median / other.median).toPrecision(3));
  return { what, limit, found, isMet: found <= limit, noise: `${range(one)} : ${range(other)} ms` };
}

function none(what: string, figure: Figure): Target {
  return { what, limit: 0, found: figure.high, isMet: figure.high === 0, noise: range(figure) };
}

const range = ({ low, high }: Figure) => `${low} to ${high}`;
