import { setTimeout as sleep } from 'node:timers/promises';
import { beginKnex, type Outcome, projectCommand, type Running } from '../support/knex';
import { startProxy } from '../support/proxy';
import { beginPsql, psqlScript, testWithPsql } from '../support/psql';
import { isFull } from './numbers';
import { shapeOf } from './profiles';
import { type Command, commands, TableUnderFire } from './table';

let table: TableUnderFire;
beforeAll(async () => {
  table = await TableUnderFire.start();
});
afterAll(() => table.stop());
afterEach(() => table.proxy.mend());

/** Lets a command come to a moment of its work, and does something to it there. */
const moments = {
  'before the server sees what it sends': async (running: Running, disturb: () => Promise<void>) => {
    await table.reaches(running, 1 + Math.floor(Math.random() * 20));
    await disturb();
  },
  'while the program runs, or Knex after it': async (running: Running, disturb: () => Promise<void>) => {
    await table.reaches(running, 'program');
    await sleep(Math.random() * (isFull ? 600 : 120));
    await disturb();
  },
  'while it waits for the lock, or sleeps': async (running: Running, disturb: () => Promise<void>) => {
    await table.reading(async () => {
      await table.reaches(running, 'program');
      await sleep(Math.random() * 2000);
      await disturb();
    });
  },
};

/** The two backends of a command; `own` sends the program. */
async function terminate(which: 'own' | 'batch') {
  await table.admin.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name LIKE 'add-security-fields%' AND (query LIKE '%$program$%') = $1`,
    [which === 'own'],
  );
}

interface Disturbance {
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

/** After a signal: it says what state things are in, and that is true. Before and after the program Node just ends. */
async function endsBySignal(
  { code, stdout, stderr }: Outcome,
  command: Command,
  moment?: keyof typeof moments,
): Promise<boolean> {
  if (code === null) return false;
  if (code !== 0)
    expect(stderr).toMatch(
      /SIG(TERM|INT): ended \(.*\)\. Nothing is locked\.\nThe change is made, or not begun/,
    );
  // In that one moment the command may be over already, and hear nothing.
  else if (moment !== 'while the program runs, or Knex after it')
    expect(stdout).toMatch(/came too late: the work is done/);
  const shape = await shapeOf(table.client);
  if (code === 0) expect(shape).toBe(command === 'migrate:latest' ? 'after' : 'before');
  const { rows } = await table.client.query('SELECT is_locked FROM knex_migrations_lock');
  expect(rows).toEqual([{ is_locked: 0 }]);
  return true;
}

/** No stack trace, and what to do. */
async function tellsOfTheLoss({ code, stderr }: Outcome): Promise<boolean> {
  if (code === 0) return true;
  expect(stderr).toMatch(/connection was (lost|cut)|the server|Try again in a moment|migrate:unlock/i);
  // Knex wraps what goes wrong while it takes its own lock, and shows a stack of its own.
  expect(stderr).not.toMatch(/^ +at /m);
  return false;
}

const disturbances: readonly Disturbance[] = [
  {
    name: 'SIGKILL',
    disturb: async ({ child }) => void child.kill('SIGKILL'),
    full: 200,
  },
  {
    name: 'its own connection ended by pg_terminate_backend',
    disturb: () => terminate('own'),
    ends: tellsOfTheLoss,
  },
  {
    name: "Knex's connection ended by pg_terminate_backend",
    disturb: () => terminate('batch'),
    ends: tellsOfTheLoss,
  },
  {
    name: 'the server stopped in immediate mode and started again',
    disturb: () => table.restartServer(),
    ends: tellsOfTheLoss,
  },
  {
    name: 'the network cut',
    disturb: async () => table.proxy.cut(),
    ends: tellsOfTheLoss,
    mend: async () => table.proxy.mend(),
  },
  ...(['SIGTERM', 'SIGINT'] as const).map(
    (signal): Disturbance => ({
      name: signal,
      disturb: async ({ child }) => void child.kill(signal),
      ends: endsBySignal,
    }),
  ),
  {
    name: 'the network stalled',
    full: 5,
    disturb: async () => table.proxy.stall(),
    ends: tellsOfTheLoss,
    mend: async () => {
      // What the server's keepalive does, later.
      table.proxy.cut();
      table.proxy.mend();
    },
    // Before and after the program it is TCP's keepalive that notices, and a proxy has no part in it.
    moments: ['while it waits for the lock, or sleeps'],
  },
];

const all = Object.keys(moments) as (keyof typeof moments)[];
/** With small numbers one moment for each, but for SIGKILL. */
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
      await table.renew();
      const running = await table.begin(command);
      await moments[moment](running, () => disturb(running));
      const outcome = await running.outcome;
      const isFree = await ends?.(outcome, command, moment);
      await mend?.();
      await table.expectRecovery(command, command === 'migrate:down' && !isFree);
    }
    process.stderr.write(`${command}, ${name} ${moment}: ${times} times, recovered each time\n`);
  });
});

test.each(['SIGINT', 'SIGTERM'] as const)('%s while the second connection is opened', async (signal) => {
  await table.bringTo('after');
  const slow = await startProxy(table.database.url, { delay: 40 });
  try {
    const { child, outcome } = beginKnex(['migrate:down'], { DATABASE_URL: slow.url(table.database.url) });
    while (slow.counted.connections < 2 && child.exitCode === null) await sleep(5);
    child.kill(signal);
    expect(await endsBySignal(await outcome, 'migrate:down')).toBe(true);
    expect(await shapeOf(table.client)).toBe('after');
  } finally {
    await slow.close();
  }
});

describe("plan tells a lock of Knex's that was left from one that is held", () => {
  const plan = async () => {
    const { stdout } = await projectCommand('plan', ['--json'], { DATABASE_URL: table.database.url });
    return JSON.parse(stdout).knexLock;
  };

  test.each(commands)('%s', async (command) => {
    await table.bringTo(command === 'migrate:latest' ? 'before' : 'after');
    await table.reading(async () => {
      const running = await table.begin(command);
      await table.reaches(running, 'program');
      expect(await plan()).toBe('held');
      running.child.kill('SIGKILL');
      await running.outcome;
    });
    await table.expectNoLocks();
    expect(await plan()).toBe(command === 'migrate:down' ? 'stale' : 'free');
    if (command === 'migrate:down') {
      const { code, stderr } = await table.knex('migrate:down');
      expect(code).toBe(1);
      expect(stderr).toContain(
        'Nobody of this project is connected now. Where no migration is at work: npx knex migrate:unlock',
      );
    }
    await table.expectRecovery(command);
    expect(await plan()).toBe('free');
  });
});

describe('psql is killed', () => {
  beforeAll(() => table.bringTo('after'));

  const times = isFull ? 30 : 4;
  testWithPsql.each([
    ['add_security_fields', 'before'],
    ['remove_security_fields', 'after'],
  ] as const)('%s.sql', async (name, from) => {
    for (let i = 0; i < times; i++) {
      if (from === 'before') await psqlScript('remove_security_fields', table.database.url);
      const { child, outcome } = beginPsql(name, table.database.url);
      const kill = async () => {
        await sleep(Math.random() * (i % 2 ? 1000 : 150));
        child.kill('SIGKILL');
        await outcome;
      };
      await (i % 2 ? table.reading(kill) : kill());
      // The server goes on without its client, until it has said something twice.
      const goesOn = "SELECT FROM pg_stat_activity WHERE application_name = 'psql'";
      while ((await table.admin.query(goesOn)).rowCount) await sleep(20);
      await table.expectNoLocks();
      await shapeOf(table.client);
      expect(await psqlScript(name, table.database.url)).toMatchObject({ code: 0 });
      expect(await shapeOf(table.client)).not.toBe(from);
      expect(await psqlScript('add_security_fields', table.database.url)).toMatchObject({ code: 0 });
      await table.expectValues();
    }
  });
});
