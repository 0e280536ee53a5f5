import { locksLeft } from '../support/catalog';
import { freshDatabase, loadState, type TestDatabase } from '../support/database';
import { knexCommand, knexFor, type Outcome } from '../support/knex';
import { psqlScript, testWithPsql } from '../support/psql';
import { isFull } from './numbers';
import { digest, loadProfiles, shapeOf, useNewColumns } from './profiles';

let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});

afterEach(() => database.close());

const repeated = <T>(n: number, make: () => Promise<T>) => Promise.all(Array.from({ length: n }, make));
const knex = (...args: string[]) => knexCommand(args, { DATABASE_URL: database.url });

async function expectOneRecord() {
  const { rows } = await database.client.query('SELECT name, batch FROM knex_migrations');
  expect(rows).toEqual([{ name: '0016_add_security_fields', batch: 1 }]);
  const { rows: locks } = await database.client.query('SELECT is_locked FROM knex_migrations_lock');
  expect(locks).toEqual([{ is_locked: 0 }]);
}

describe('twenty migrate:latest at once: all succeed, one applies', () => {
  test.each(['that Knex knows', 'that Knex sees for the first time'])(
    'processes, on a database %s',
    async (kind) => {
      await loadState(database.client, '0015');
      if (kind === 'that Knex knows') await knex('migrate:list');
      const outcomes = await repeated(20, () => knex('migrate:latest'));
      expect(outcomes.filter(({ code }) => code !== 0)).toEqual([]);
      expect(outcomes.filter(({ stdout }) => stdout.includes('Batch 1 run: 1 migrations'))).toHaveLength(1);
      await expectOneRecord();
    },
  );

  test('in step with one another, on databases that Knex sees for the first time', async () => {
    process.env['MIGRATION_QUIET'] = '1';
    // Processes start a little apart. Plain Knex fails here every time.
    for (let round = 0; round < (isFull ? 50 : 3); round++) {
      const fresh = await freshDatabase();
      await loadState(fresh.client, '0015');
      const knexes = await repeated(20, () => knexFor(fresh.url));
      const batches = await Promise.all(knexes.map((one) => one.migrate.latest()));
      expect(batches.filter(([, names]) => names.length === 1)).toHaveLength(1);
      await Promise.all(knexes.map((one) => one.destroy()));
      await fresh.close();
    }
  });
});

describe('two at once: never half a change, no value lost', () => {
  const rounds = isFull ? 25 : 2;
  interface Clash {
    readonly from: 'before' | 'after';
    readonly one: () => Promise<Outcome>;
    readonly other: () => Promise<Outcome>;
    readonly isFine: (outcomes: Outcome[]) => void;
    /** The documented way to the new shape afterwards. */
    readonly heal: () => Promise<Outcome>;
  }

  const latest = () => knex('migrate:latest');
  const down = () => knex('migrate:down');
  const addScript = () => psqlScript('add_security_fields', database.url);
  const removeScript = () => psqlScript('remove_security_fields', database.url);

  const succeeded = (outcomes: Outcome[]) => expect(outcomes.filter(({ code }) => code !== 0)).toEqual([]);
  /** Knex lets one in and tells the other that its lock is taken. */
  const succeededOrLockedOut = (outcomes: Outcome[]) => {
    expect(outcomes.some(({ code }) => code === 0)).toBe(true);
    for (const { code, stderr } of outcomes) if (code !== 0) expect(stderr).toContain("Knex's lock is set");
  };

  const clashes: Record<string, Clash> = {
    'migrate:latest and migrate:down': {
      from: 'after',
      one: latest,
      other: down,
      isFine: succeededOrLockedOut,
      heal: latest,
    },
    'migrate:down and migrate:down': {
      from: 'after',
      one: down,
      other: down,
      isFine: succeededOrLockedOut,
      heal: latest,
    },
  };
  const clashesWithPsql: Record<string, Clash> = {
    'migrate:latest and add_security_fields.sql': {
      from: 'before',
      one: latest,
      other: addScript,
      isFine: succeeded,
      heal: latest,
    },
    'migrate:down and remove_security_fields.sql': {
      from: 'after',
      one: down,
      other: removeScript,
      isFine: succeeded,
      heal: latest,
    },
    'both scripts': {
      from: 'after',
      one: addScript,
      other: removeScript,
      isFine: succeeded,
      heal: addScript,
    },
  };
  test.each(Object.entries(clashes))('%s', (_name, clash) => run(clash));
  testWithPsql.each(Object.entries(clashesWithPsql))('%s', (_name, clash) => run(clash));

  async function run({ from, one, other, isFine, heal }: Clash) {
    const { client } = database;
    await loadProfiles(client, 2000);
    await latest();
    await useNewColumns(client);
    const expected = await digest(client);
    for (let round = 0; round < rounds; round++) {
      if (from === 'before') await down();
      const outcomes = await Promise.all([one(), other()]);
      await shapeOf(client);
      isFine(outcomes);
      succeeded([await heal()]);
      expect(await shapeOf(client)).toBe('after');
      expect(await digest(client)).toBe(expected);
      await expectOneRecord();
      expect(await locksLeft(client)).toEqual([]);
    }
  }
});
