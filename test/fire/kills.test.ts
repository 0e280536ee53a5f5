import { setTimeout as sleep } from 'node:timers/promises';
import { beginKnex, type Outcome, projectCommand } from '../support/knex';
import { startProxy } from '../support/proxy';
import { beginPsql, psqlScript, testWithPsql } from '../support/psql';
import { type Disturbance, testRecovery, underFire } from './disturbed';
import { isFull } from './numbers';
import { shapeOf } from './profiles';
import { type Command, commands } from './table';

// The process that sends the program is killed, or told to end.
const table = underFire();

/** After a signal: it says what state things are in, and that is true. Before and after the program Node just ends. */
async function endsBySignal(
  { code, stdout, stderr }: Outcome,
  command: Command,
  moment?: string,
): Promise<boolean> {
  if (code === null) return false;
  if (code !== 0)
    expect(stderr).toMatch(
      /SIG(TERM|INT): ended \(.*\)\. Nothing is locked\.\nThe change is made, or not begun/,
    );
  // In that one moment the command may be over already, and hear nothing.
  else if (moment !== 'while the program runs, or Knex after it')
    expect(stdout).toMatch(/came too late: the work is done/);
  const shape = await shapeOf(table().client);
  if (code === 0) expect(shape).toBe(command === 'migrate:latest' ? 'after' : 'before');
  const { rows } = await table().client.query('SELECT is_locked FROM knex_migrations_lock');
  expect(rows).toEqual([{ is_locked: 0 }]);
  return true;
}

testRecovery([
  {
    name: 'SIGKILL',
    disturb: async ({ child }) => void child.kill('SIGKILL'),
    full: 200,
  },
  ...(['SIGTERM', 'SIGINT'] as const).map(
    (signal): Disturbance => ({
      name: signal,
      disturb: async ({ child }) => void child.kill(signal),
      ends: endsBySignal,
    }),
  ),
]);

test.each(['SIGINT', 'SIGTERM'] as const)('%s while the second connection is opened', async (signal) => {
  await table().bringTo('after');
  const slow = await startProxy(table().database.url, { delay: 40 });
  try {
    const { child, outcome } = beginKnex(['migrate:down'], { DATABASE_URL: slow.url(table().database.url) });
    while (slow.counted.connections < 2 && child.exitCode === null) await sleep(5);
    child.kill(signal);
    expect(await endsBySignal(await outcome, 'migrate:down')).toBe(true);
    expect(await shapeOf(table().client)).toBe('after');
  } finally {
    await slow.close();
  }
});

describe("plan tells a lock of Knex's that was left from one that is held", () => {
  const plan = async () => {
    const { stdout } = await projectCommand('plan', ['--json'], { DATABASE_URL: table().database.url });
    return JSON.parse(stdout).knexLock;
  };

  test.each(commands)('%s', async (command) => {
    await table().bringTo(command === 'migrate:latest' ? 'before' : 'after');
    await table().reading(async () => {
      const running = await table().begin(command);
      await table().reaches(running, 'program');
      expect(await plan()).toBe('held');
      running.child.kill('SIGKILL');
      await running.outcome;
    });
    await table().expectNoLocks();
    expect(await plan()).toBe(command === 'migrate:down' ? 'stale' : 'free');
    if (command === 'migrate:down') {
      const { code, stderr } = await table().knex('migrate:down');
      expect(code).toBe(1);
      expect(stderr).toContain(
        'Nobody of this project is connected now. Where no migration is at work: npx knex migrate:unlock',
      );
    }
    await table().expectRecovery(command);
    expect(await plan()).toBe('free');
  });
});

describe('psql is killed', () => {
  beforeAll(() => table().bringTo('after'));

  const times = isFull ? 30 : 4;
  testWithPsql.each([
    ['add_security_fields', 'before'],
    ['remove_security_fields', 'after'],
  ] as const)('%s.sql', async (name, from) => {
    for (let i = 0; i < times; i++) {
      if (from === 'before') await psqlScript('remove_security_fields', table().database.url);
      const { child, outcome } = beginPsql(name, table().database.url);
      const kill = async () => {
        await sleep(Math.random() * (i % 2 ? 1000 : 150));
        child.kill('SIGKILL');
        await outcome;
      };
      await (i % 2 ? table().reading(kill) : kill());
      // The server goes on without its client, until it has said something twice.
      const goesOn = "SELECT FROM pg_stat_activity WHERE application_name = 'psql'";
      while ((await table().admin.query(goesOn)).rowCount) await sleep(20);
      await table().expectNoLocks();
      await shapeOf(table().client);
      expect(await psqlScript(name, table().database.url)).toMatchObject({ code: 0 });
      expect(await shapeOf(table().client)).not.toBe(from);
      expect(await psqlScript('add_security_fields', table().database.url)).toMatchObject({ code: 0 });
      await table().expectValues();
    }
  });
});
