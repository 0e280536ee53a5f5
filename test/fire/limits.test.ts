import { setTimeout as sleep } from 'node:timers/promises';
import { up } from '../../migrations/0016_add_security_fields';
import { knexFor } from '../support/knex';
import { shapeOf } from './profiles';
import { TableUnderFire } from './table';

let table: TableUnderFire;
beforeAll(async () => {
  table = await TableUnderFire.start();
});
afterAll(() => table.stop());

describe("a role's time limits are shorter than the work", () => {
  const limited = async (setting: string) => {
    const { admin, database } = table;
    await admin.query(`ALTER ROLE ${database.owner} SET ${setting} = '1s'`);
    try {
      const { outcome } = await table.reading(async () => {
        const running = await table.begin('migrate:down');
        await table.reaches(running, 'program');
        await Promise.race([running.outcome, sleep(4000)]);
        return running;
      });
      return await outcome;
    } finally {
      await admin.query(`ALTER ROLE ${database.owner} RESET ${setting}`);
    }
  };

  beforeEach(() => table.bringTo('after'));

  test.each(['statement_timeout', 'transaction_timeout'])('%s is named', async (setting) => {
    const { code, stderr } = await limited(setting);
    expect(code).toBe(1);
    expect(stderr).toContain(`ALTER ROLE ... SET ${setting} = 0`);
    expect(stderr).not.toMatch(/^ +at /m);
    expect(await shapeOf(table.client)).toBe('after');
    await table.expectRecovery('migrate:down', false);
  });

  test('idle_in_transaction_session_timeout does not end the transaction that waits', async () => {
    expect((await limited('idle_in_transaction_session_timeout')).code).toBe(0);
    await table.expectRecovery('migrate:down', false);
  });
});

test("the server is told to notice within half a minute when the client of Knex's transaction is gone", async () => {
  await table.bringTo('before');
  const quiet = jest.spyOn(console, 'log').mockImplementation(() => undefined);
  const knex = await knexFor(table.database.url);
  await knex.transaction(async (trx) => {
    const settings = async () => {
      const { rows } = await trx.raw(
        "SELECT setting FROM pg_settings WHERE name LIKE 'tcp_keep%' ORDER BY name",
      );
      return rows.map(({ setting }: { setting: string }) => setting);
    };
    const before = await settings();
    const running = await table.reading(async () => {
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
  await table.expectRecovery('migrate:latest');
});
