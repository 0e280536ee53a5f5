import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome, Running } from '../support/knex';
import { isFull } from './numbers';
import { type Command, commands, TableUnderFire } from './table';

let here: TableUnderFire;

/** Lets a command come to a moment of its work, and does something to it there. */
const moments = {
  'before the server sees what it sends': async (running: Running, disturb: () => Promise<void>) => {
    await here.reaches(running, 1 + Math.floor(Math.random() * 20));
    await disturb();
  },
  'while the program runs, or Knex after it': async (running: Running, disturb: () => Promise<void>) => {
    await here.reaches(running, 'program');
    await sleep(Math.random() * (isFull ? 600 : 120));
    await disturb();
  },
  'while it waits for the lock, or sleeps': async (running: Running, disturb: () => Promise<void>) => {
    await here.reading(async () => {
      await here.reaches(running, 'program');
      await sleep(Math.random() * 2000);
      await disturb();
    });
  },
};

export interface Disturbance {
  readonly name: string;
  readonly disturb: (running: Running) => Promise<void>;
  /** Between the end of the command and what is documented for afterwards. */
  readonly mend?: () => Promise<void>;
  /** What must be true at its end; gives whether Knex's lock is free. */
  readonly ends?: (outcome: Outcome, command: Command, moment: keyof typeof moments) => Promise<boolean>;
  /** How often with full numbers, over its moments. */
  readonly full?: number;
  readonly moments?: readonly (keyof typeof moments)[];
}

/** The table of a file, to whose commands things are done. */
export function underFire(): () => TableUnderFire {
  beforeAll(async () => {
    here = await TableUnderFire.start();
  });
  afterAll(() => here.stop());
  afterEach(() => here.proxy.mend());
  return () => here;
}

/** A test for each command, disturbance and moment: whatever comes of it, the same command goes on from there. */
export function testRecovery(disturbances: readonly Disturbance[]): void {
  const all = Object.keys(moments) as (keyof typeof moments)[];
  /** With small numbers one moment for each, but for the first. */
  const cases = disturbances.flatMap((one, i) => {
    const at = one.moments ?? (isFull || i === 0 ? all : all.slice(i % 3, (i % 3) + 1));
    return at.map((moment) => ({
      ...one,
      moment,
      times: isFull ? Math.ceil((one.full ?? 21) / at.length) : 1,
    }));
  });

  describe.each(commands)('%s', (command) => {
    test.each(cases)('$name $moment', async ({ name, disturb, mend, ends, times, moment }) => {
      for (let i = 0; i < times; i++) {
        await here.renew();
        const running = await here.begin(command);
        await moments[moment](running, () => disturb(running));
        const outcome = await running.outcome;
        const isFree = await ends?.(outcome, command, moment);
        await mend?.();
        await here.expectRecovery(command, command === 'migrate:down' && !isFree);
      }
      process.stderr.write(`${command}, ${name} ${moment}: ${times} times, recovered each time\n`);
    });
  });
}
