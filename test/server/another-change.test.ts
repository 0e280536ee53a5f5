import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Knex } from 'knex';
import { ModuleKind, transpileModule } from 'typescript';
import { type TableChange, tableChange } from '../../src/table-change';
import { dataOf, schemaOf } from '../support/catalog';
import { databasePerTest, type TestDatabase } from '../support/database';
import { knexFor, project } from '../support/knex';

/** The example of docs/ANOTHER_CHANGE.md: the first block of the page, as it stands there. */
function example(): TableChange {
  const page = readFileSync(join(project, 'docs/ANOTHER_CHANGE.md'), 'utf8');
  const [, source = ''] = /```ts\n([\s\S]*?)```/.exec(page) ?? [];
  const { outputText } = transpileModule(source, { compilerOptions: { module: ModuleKind.CommonJS } });
  const exported = {};
  const load = (path: string) => require(join(project, 'migrations', path));
  new Function('require', 'exports', outputText)(load, exported);
  return exported as TableChange;
}

const change = example();
let database: TestDatabase;
let knex: Knex;
let schema: string[];
let data: Record<string, string[]>;

const here = databasePerTest();
beforeEach(async () => {
  jest.spyOn(console, 'log').mockReturnValue();
  database = here();
  knex = await knexFor(database.url);
  await database.client.query(`
    CREATE TABLE "Appointment Notes" (
      "Note no." integer PRIMARY KEY,
      "Body text" varchar(500) NOT NULL DEFAULT 'none yet',
      signed boolean NOT NULL
    );
    COMMENT ON COLUMN "Appointment Notes"."Body text" IS 'what was said';
    INSERT INTO "Appointment Notes" VALUES (1, 'first', true), (2, '', false)`);
  schema = await schemaOf(database.client);
  data = await dataOf(database.client);
});

afterEach(async () => {
  jest.restoreAllMocks();
  await knex.destroy();
});

const columns = async () =>
  (
    await database.client.query(
      `SELECT string_agg(format('%I %s%s%s', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN ' NOT NULL' END,
                                ' DEFAULT ' || pg_get_expr(adbin, adrelid)), ', ' ORDER BY attnum) AS columns
       FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
       WHERE attrelid = '"Appointment Notes"'::regclass AND attnum > 0 AND NOT attisdropped`,
    )
  ).rows[0].columns;
const changed =
  '"Note no." integer NOT NULL, body character varying(500), signed boolean NOT NULL, "Follow-up" date, urgent boolean NOT NULL DEFAULT false';

const routes: readonly [string, (way: 'up' | 'down') => Promise<unknown>][] = [
  ['Knex', (way) => knex.transaction((trx) => change[way](trx))],
  ['its script', (way) => database.client.query(change.script(way, { up: 'up.sql', down: 'down.sql' }))],
];

test.each(routes)('the example goes both ways by %s', async (_, go) => {
  expect((await change.plan(knex)).lines.join('\n')).toContain('RENAME COLUMN "Body text" TO body;');
  await go('up');
  expect(await columns()).toBe(changed);
  expect(await change.verify(knex)).toMatchObject({ asDeclared: true });
  expect((await change.plan(knex)).steps).toEqual([]);
  await database.client.query(
    `UPDATE "Appointment Notes" SET "Follow-up" = '2026-01-31', urgent = true WHERE signed`,
  );
  const kept = await dataOf(database.client);

  await go('down');
  expect((await schemaOf(database.client)).filter((line) => !line.includes('_down_archive'))).toEqual(schema);
  expect((await dataOf(database.client))['Appointment Notes']?.sort()).toEqual(
    data['Appointment Notes']?.sort(),
  );

  await go('up');
  expect(await columns()).toBe(changed);
  expect(await dataOf(database.client)).toEqual(kept);
});

test('plan names what goes with a column, and a function with its name, where the name needs quotes', async () => {
  await database.client.query(`
    CREATE FUNCTION old_notes() RETURNS text LANGUAGE sql AS 'SELECT min("Body text") FROM "Appointment Notes"'`);
  const { warnings } = await change.plan(knex);
  // Before 11 there is one more.
  expect(warnings.filter((line) => !line.includes(' rewrites the table '))).toEqual([
    'function public.old_notes() has Body text in its text, and may fail or pass over it from then on',
  ]);
  await change.up(knex);
  await database.client.query('CREATE INDEX due ON "Appointment Notes" ("Follow-up")');
  expect((await change.plan(knex, 'down')).warnings).toContain(
    'with column "Follow-up" goes index public.due: it does not come back with it',
  );
});

test('without a rename: NULLs are filled on the way back, too, where the column was NOT NULL', async () => {
  const alone = tableChange({
    id: '0018',
    table: 'Appointment Notes',
    add: { signed: { type: 'boolean', notNull: true, default: 'false' } },
  });
  await alone.up(knex);
  await database.client.query(`
    ALTER TABLE "Appointment Notes" ALTER signed DROP NOT NULL;
    INSERT INTO "Appointment Notes" VALUES (3)`);
  await alone.down(knex);
  expect(await schemaOf(database.client)).toEqual(schema);
});

test('a table that is not there', async () => {
  await database.client.query('DROP TABLE "Appointment Notes"');
  await expect(change.up(knex)).rejects.toThrow(/^there is no table "Appointment Notes" on the search_path/);
});
