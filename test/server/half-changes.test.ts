import { knex as plainKnex } from 'knex';
import { type Declaration, tableChange } from '../../src/table-change';
import { schemaOf } from '../support/catalog';
import { databasePerTest } from '../support/database';
import { knexFor } from '../support/knex';
import { migrateWith } from '../support/routes';

// A declaration that only adds, or only renames.
const here = databasePerTest();

const halves: [string, Declaration, string[]][] = [
  [
    'only adds',
    {
      id: '1',
      table: 't',
      knex: { migration: '1_t' },
      add: { seen: { type: 'timestamptz' }, count: { type: 'integer', notNull: true, default: '0' } },
    },
    ['seen', 'count'],
  ],
  [
    'only renames',
    {
      id: '1',
      table: 't',
      knex: { migration: '1_t' },
      add: {},
      rename: { from: 'old', to: 'new', type: 'text', moveWhere: 'is_on', empty: '' },
    },
    ['new'],
  ],
];

test.each(halves)('%s: there and back by both routes; plan and verify', async (_, declaration, columns) => {
  const { client, url } = here();
  const change = tableChange(declaration);
  const names = { up: 'up.sql', down: 'down.sql' };
  await client.query(
    "CREATE TABLE t (id integer PRIMARY KEY, is_on boolean, old varchar(9)); INSERT INTO t VALUES (1, true, 'x')",
  );
  const before = await schemaOf(client);
  // Knex's tables in a schema of their own.
  await client.query('CREATE SCHEMA history');
  const knex = await knexFor(url, { migrations: { schemaName: 'history', tableName: 'done' } });
  try {
    await knex.migrate.currentVersion();
    const found = await change.verify(knex);
    expect([found.asDeclared, found.recorded]).toEqual([false, false]);
    const { knexLock, steps, conflicts } = await change.plan(knex);
    expect({ knexLock, conflicts }).toEqual({ knexLock: 'free', conflicts: [] });
    expect(steps.length).toBeGreaterThan(2);

    await migrateWith(knex, 'up', change);
    const after = await schemaOf(client);
    expect((await change.verify(knex)).columns.map(({ name, differs }) => [name, differs])).toEqual(
      columns.map((name) => [name, []]),
    );
    await client.query(change.script('down', names));
    expect(await schemaOf(client)).toEqual(before);
    await client.query(change.script('up', names));
    expect(await schemaOf(client)).toEqual(after);
    await migrateWith(knex, 'down', change);
    expect(await schemaOf(client)).toEqual(before);
  } finally {
    await knex.destroy();
  }
});

test.each(halves)(
  '%s: with a Knex that is configured otherwise, and without the table',
  async (_, declaration) => {
    const { client, url } = here();
    const change = tableChange(declaration);
    const knex = plainKnex({ client: 'pg', connection: url });
    try {
      for (const look of [() => change.plan(knex), () => change.verify(knex), () => change.up(knex)]) {
        await expect(look()).rejects.toThrow(/^there is no table t on the search_path of/);
      }
      await client.query('CREATE TABLE t (id integer PRIMARY KEY, is_on boolean, old text)');
      expect((await change.plan(knex)).knexLock).toBeNull();
      expect((await change.verify(knex)).recorded).toBeNull();
      await migrateWith(knex, 'up', change);
      expect((await change.verify(knex)).asDeclared).toBe(true);
    } finally {
      await knex.destroy();
    }
  },
);
