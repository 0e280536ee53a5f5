import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { up } from '../../migrations/0016_add_security_fields';
import { start } from '../../src/database/server';
import { locksLeft } from '../support/catalog';
import { connect, freshDatabase, type TestDatabase } from '../support/database';
import { beginKnex, knexCommand, knexFor, type Outcome, projectCommand, type Running } from '../support/knex';
import { startProxy, type TcpProxy } from '../support/proxy';
import { beginPsql, psqlScript, testWithPsql } from '../support/psql';
import { startTestServer, type TestServer, testCluster } from '../support/server';
import { isFull } from './numbers';
import { digest, loadProfiles, shapeOf, useNewColumns } from './profiles';

type Command = 'migrate:latest' | 'migrate:down';
const commands: readonly Command[] = ['migrate:latest', 'migrate:down'];

let server: TestServer;
let database: TestDatabase;
let client: Client;
let admin: Client;
let proxy: TcpProxy;
let onMessage: (n: number, bytes: number) => void;
/** Every value of the table, in the shape after. */
let values: string;

beforeAll(async () => {
  server = await startTestServer(testCluster({ port: await freePort() }));
  database = await freshDatabase(server.url);
  ({ client, admin } = database);
  proxy = await startProxy(database.url, { onMessage: (n, bytes) => onMessage(n, bytes) });
  await fill();
});

async function fill() {
  // One in twenty has values: enough for batches.
  await loadProfiles(client, isFull ? 100_000 : 40_000);
  await succeeds('migrate:latest');
  await useNewColumns(client);
  values = await digest(client);
}

/** A table has 1,600 column numbers, and each time there and back takes eight of them. */
async function renew() {
  const { rows } = await client.query(
    "SELECT max(attnum)::int AS used FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass",
  );
  if (rows[0].used < 1500) return;
  await admin.query(`DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION ${database.owner}`);
  await fill();
}

afterAll(async () => {
  await proxy.close();
  await server.remove();
});

beforeEach(() => {
  onMessage = () => undefined;
});

afterEach(() => proxy.mend());

async function freePort(): Promise<string> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await once(probe.close(), 'close');
  return String(port);
}

const knex = (command: string): Promise<Outcome> => knexCommand([command], { DATABASE_URL: database.url });

async function succeeds(command: string) {
  const { code, stderr } = await knex(command);
  expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: '' });
}

async function bringTo(shape: 'before' | 'after') {
  if ((await shapeOf(client)) !== shape)
    await succeeds(shape === 'before' ? 'migrate:down' : 'migrate:latest');
}

/** Begins a command by way of the proxy, on a table in the shape that it starts from. */
async function begin(command: Command): Promise<Running> {
  await bringTo(command === 'migrate:latest' ? 'before' : 'after');
  proxy.reset();
  return beginKnex([command], { DATABASE_URL: proxy.url(database.url) });
}

/** Resolves when a command sends its n-th message, or the one with the program in it. */
function message(which: number | 'program'): Promise<void> {
  return new Promise((resolve) => {
    onMessage = (n, bytes) => {
      if (which === 'program' ? bytes > 10_000 : n === which) resolve();
    };
  });
}

/** What is documented for afterwards, and what must be true then. */
async function expectRecovery(command: Command, unlock = command === 'migrate:down') {
  onMessage = () => undefined;
  await expectNoLocks();
  await shapeOf(client);
  if (unlock) await succeeds('migrate:unlock');
  await succeeds(command);
  expect(await shapeOf(client)).toBe(command === 'migrate:latest' ? 'after' : 'before');
  if (command === 'migrate:down') await succeeds('migrate:latest');
  expect(await digest(client)).toBe(values);
  const { rows } = await client.query('SELECT name, is_locked FROM knex_migrations, knex_migrations_lock');
  expect(rows).toEqual([{ name: '0016_add_security_fields', is_locked: 0 }]);
}

/** A second after the end of a command no lock of ours is left. */
async function expectNoLocks() {
  for (const until = performance.now() + 1000; ; await sleep(20)) {
    const left = await locksLeft(client);
    if (left.length === 0) return;
    if (performance.now() > until) expect(left).toEqual([]);
  }
}

/** Lets a command come to a moment of its work, and does something to it there. */
const moments = {
  'before the server sees what it sends': async (running: Running, disturb: () => Promise<void>) => {
    await reaches(running, 1 + Math.floor(Math.random() * 20));
    await disturb();
  },
  'while the program runs, or Knex after it': async (running: Running, disturb: () => Promise<void>) => {
    await reaches(running, 'program');
    await sleep(Math.random() * (isFull ? 600 : 120));
    await disturb();
  },
  'while it waits for the lock, or sleeps': async (running: Running, disturb: () => Promise<void>) => {
    await reading(async () => {
      await reaches(running, 'program');
      await sleep(Math.random() * 2000);
      await disturb();
    });
  },
};

const reaches = ({ outcome }: Running, which: number | 'program') => Promise.race([message(which), outcome]);

/** The two backends of a command; `own` sends the program. */
async function terminate(which: 'own' | 'batch') {
  await admin.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name LIKE 'add-security-fields%' AND (query LIKE '%$program$%') = $1`,
    [which === 'own'],
  );
}

async function stopAndStartServer() {
  const pid = Number(readFileSync(join(server.cluster.data, 'postmaster.pid'), 'utf8').split('\n')[0]);
  process.kill(pid, 'SIGQUIT'); // as pg_ctl stop -m immediate
  await start(server.cluster);
  [client, admin] = [await connect(database.url), await connect(database.adminUrl)];
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
  const [from, to] =
    command === 'migrate:latest' ? (['before', 'after'] as const) : (['after', 'before'] as const);
  const [, left] =
    /SIG(?:TERM|INT): ended\. (Nothing has changed|What is done so far stays), and nothing is locked/.exec(
      stderr,
    ) ?? [];
  if (code !== 0) expect(left).toBeDefined();
  // In that one moment the command may be over already, and hear nothing.
  else if (moment !== 'while the program runs, or Knex after it')
    expect(stdout).toMatch(/came too late: user_profiles has been changed/);
  // Nobody sees the columns that are put aside.
  const begun = left === 'Nothing has changed' ? from : 'before';
  expect(await shapeOf(client)).toBe(code === 0 ? to : begun);
  const { rows } = await client.query('SELECT is_locked FROM knex_migrations_lock');
  expect(rows).toEqual([{ is_locked: 0 }]);
  return true;
}

/** No stack trace, and what to do. */
async function tellsOfTheLoss({ code, stderr }: Outcome): Promise<boolean> {
  if (code === 0) return true;
  expect(stderr).toMatch(/connection was (lost|cut)|the server|Try again in a moment|migrate:unlock/i);
  // Knex wraps what goes wrong while it takes its own lock, and shows a stack of its own.
  if (!stderr.includes('MigrationLocked')) expect(stderr).not.toMatch(/^ +at /m);
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
    disturb: stopAndStartServer,
    ends: tellsOfTheLoss,
  },
  {
    name: 'the network cut',
    disturb: async () => proxy.cut(),
    ends: tellsOfTheLoss,
    mend: async () => proxy.mend(),
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
    disturb: async () => proxy.stall(),
    ends: tellsOfTheLoss,
    mend: async () => {
      // What the server's keepalive does, later.
      proxy.cut();
      proxy.mend();
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
      await renew();
      const running = await begin(command);
      await moments[moment](running, () => disturb(running));
      const outcome = await running.outcome;
      const isFree = await ends?.(outcome, command, moment);
      await mend?.();
      await expectRecovery(command, command === 'migrate:down' && !isFree);
    }
    process.stderr.write(`${command}, ${name} ${moment}: ${times} times, recovered each time\n`);
  });
});

test.each(['SIGINT', 'SIGTERM'] as const)('%s while the second connection is opened', async (signal) => {
  await bringTo('after');
  const slow = await startProxy(database.url, { delay: 40 });
  try {
    const { child, outcome } = beginKnex(['migrate:down'], { DATABASE_URL: slow.url(database.url) });
    while (slow.counted.connections < 2 && child.exitCode === null) await sleep(5);
    child.kill(signal);
    expect(await endsBySignal(await outcome, 'migrate:down')).toBe(true);
    expect(await shapeOf(client)).toBe('after');
  } finally {
    await slow.close();
  }
});

/** Holds a lock that reading takes, so that a command waits until it is let go. Not as the owner, who may have limits. */
async function reading<T>(work: () => Promise<T>): Promise<T> {
  const reader = await connect(database.adminUrl);
  await reader.query('BEGIN; SELECT 1 FROM user_profiles LIMIT 1');
  try {
    return await work();
  } finally {
    await reader.end().catch(() => undefined);
  }
}

describe("plan tells a lock of Knex's that was left from one that is held", () => {
  const plan = async () => {
    const { stdout } = await projectCommand('plan', ['--json'], { DATABASE_URL: database.url });
    return JSON.parse(stdout).knexLock;
  };

  test.each(commands)('%s', async (command) => {
    await bringTo(command === 'migrate:latest' ? 'before' : 'after');
    await reading(async () => {
      const running = await begin(command);
      await reaches(running, 'program');
      expect(await plan()).toBe('held');
      running.child.kill('SIGKILL');
      await running.outcome;
    });
    await expectNoLocks();
    expect(await plan()).toBe(command === 'migrate:down' ? 'stale' : 'free');
    if (command === 'migrate:down') {
      const { code, stderr } = await knex('migrate:down');
      expect(code).toBe(1);
      expect(stderr).toContain("running 'knex migrate:unlock'");
    }
    await expectRecovery(command);
    expect(await plan()).toBe('free');
  });
});

describe("a role's time limits are shorter than the work", () => {
  const limited = async (setting: string) => {
    await admin.query(`ALTER ROLE ${database.owner} SET ${setting} = '150ms'`);
    try {
      const { outcome } = await reading(async () => {
        const running = await begin('migrate:down');
        await reaches(running, 'program');
        await Promise.race([running.outcome, sleep(1500)]);
        return running;
      });
      return await outcome;
    } finally {
      await admin.query(`ALTER ROLE ${database.owner} RESET ${setting}`);
    }
  };

  beforeEach(() => bringTo('after'));

  test.each(['statement_timeout', 'transaction_timeout'])('%s is named', async (setting) => {
    const { code, stderr } = await limited(setting);
    expect(code).toBe(1);
    expect(stderr).toContain(`ALTER ROLE ... SET ${setting} = 0`);
    expect(stderr).not.toMatch(/^ +at /m);
    expect(await shapeOf(client)).toBe('after');
    await expectRecovery('migrate:down', false);
  });

  test('idle_in_transaction_session_timeout does not end the transaction that waits', async () => {
    expect((await limited('idle_in_transaction_session_timeout')).code).toBe(0);
    await expectRecovery('migrate:down', false);
  });
});

test("the server is told to notice within half a minute when the client of Knex's transaction is gone", async () => {
  await bringTo('before');
  const quiet = jest.spyOn(console, 'log').mockImplementation(() => undefined);
  const knex = await knexFor(database.url);
  await knex.transaction(async (trx) => {
    const settings = async () => {
      const { rows } = await trx.raw(
        "SELECT setting FROM pg_settings WHERE name LIKE 'tcp_keep%' ORDER BY name",
      );
      return rows.map(({ setting }: { setting: string }) => setting);
    };
    const before = await settings();
    const running = await reading(async () => {
      const work = up(trx);
      await sleep(500);
      expect(await settings()).toEqual(['3', '10', '5']);
      return { work };
    });
    await running.work;
    expect(await settings()).toEqual(before);
  });
  await knex.destroy();
  quiet.mockRestore();
  await expectRecovery('migrate:latest');
});

describe('psql is killed', () => {
  beforeAll(() => bringTo('after'));

  const times = isFull ? 30 : 4;
  testWithPsql.each([
    ['add_security_fields', 'before'],
    ['remove_security_fields', 'after'],
  ] as const)('%s.sql', async (name, from) => {
    for (let i = 0; i < times; i++) {
      if (from === 'before') await psqlScript('remove_security_fields', database.url);
      const { child, outcome } = beginPsql(name, database.url);
      const kill = async () => {
        await sleep(Math.random() * (i % 2 ? 1000 : 150));
        child.kill('SIGKILL');
        await outcome;
      };
      await (i % 2 ? reading(kill) : kill());
      await expectNoLocks();
      await shapeOf(client);
      expect(await psqlScript(name, database.url)).toMatchObject({ code: 0 });
      expect(await shapeOf(client)).not.toBe(from);
      expect(await psqlScript('add_security_fields', database.url)).toMatchObject({ code: 0 });
      expect(await digest(client)).toBe(values);
    }
  });
});
