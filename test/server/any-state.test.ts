import fc from 'fast-check';
import type { Knex } from 'knex';
import { plan, verify } from '../../migrations/0016_add_security_fields';
import { UserError } from '../../src/table-change';
import { declaredShape, valuesOf, writeValues } from '../support/application';
import { everythingIn, schemaOf } from '../support/catalog';
import { freshDatabase, type TestDatabase } from '../support/database';
import { type FoundTable, foundTable, statementsFor } from '../support/found-tables';
import { knexFor } from '../support/knex';
import { migrateWith } from '../support/routes';

// More with PROPERTY_RUNS=500.
const runs = { numRuns: Number(process.env['PROPERTY_RUNS'] || 30) };
const timeout = 30_000 + runs.numRuns * 2_000;

let database: TestDatabase;
let knex: Knex;
beforeAll(async () => {
  database = await freshDatabase();
  knex = await knexFor(database.url);
});
afterAll(async () => {
  await knex.destroy();
  await database.close();
});

const everything = () => everythingIn(database.client);

async function make(table: FoundTable): Promise<void> {
  await database.client.query(`
    DROP TABLE IF EXISTS user_profiles, user_profiles_0016_before, user_profiles_0016_up_archive, user_profiles_0016_down_archive;
    ${statementsFor(table)}`);
}

/** Whether the change was made; where it was refused, nothing may have changed. */
async function isMade(): Promise<boolean> {
  const before = await everything();
  try {
    await migrateWith(knex, 'up');
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(/^user_profiles is left as it was: .* (is|exist)/);
    expect(await everything()).toEqual(before);
    return false;
  }
}

/** Every value that is not NULL, as text, by person and column. */
async function valuesByColumn(): Promise<Record<string, string>> {
  const { rows } = await database.client.query<{ place: string; value: string }>(
    `SELECT t.user_id || ' ' || e.key AS place, e.value
     FROM user_profiles t CROSS JOIN to_jsonb(t) j CROSS JOIN jsonb_each_text(j) e WHERE e.value IS NOT NULL`,
  );
  return Object.fromEntries(rows.map(({ place, value }) => [place, value]));
}

/** Without values of the old name that stay under the new one, because they cannot be cast back. */
async function withoutMoved(values: Record<string, string>): Promise<Record<string, string>> {
  const now = await valuesByColumn();
  return Object.fromEntries(
    Object.entries(values).filter(
      ([place, value]) =>
        !place.endsWith(' backup_codes') || now[place.replace('backup_codes', 'mfa_backup_codes')] !== value,
    ),
  );
}

test(
  'from whatever is found: the declared shape or a refusal; then nothing is left to do; and back to the same',
  () =>
    fc.assert(
      fc.asyncProperty(foundTable, async (table) => {
        await make(table);
        const { schema } = await everything();
        const values = await valuesByColumn();
        if (!(await isMade())) return;

        expect((await verify(knex)).columns.filter(({ differs }) => differs.length > 0)).toEqual([]);
        expect((await plan(knex)).steps).toEqual([]);
        const after = await everything();
        expect((await migrateWith(knex, 'up')).at(-1)).toBe('user_profiles: nothing to do');
        expect(await everything()).toEqual(after);

        await migrateWith(knex, 'down');
        expect(await schemaOf(database.client)).toEqual(schema);
        expect(await valuesByColumn()).toMatchObject(await withoutMoved(values));
      }),
      runs,
    ),
  timeout,
);

test(
  'whatever is found: values that the application writes come back after down and latest',
  () =>
    fc.assert(
      fc.asyncProperty(foundTable, async (table) => {
        await make(table);
        if (!(await isMade())) return;
        await writeValues(database.client);
        const columns = Object.keys(declaredShape);
        const values = await valuesOf(database.client, columns);
        await migrateWith(knex, 'down');
        await migrateWith(knex, 'up');
        expect(await valuesOf(database.client, columns)).toEqual(values);
      }),
      runs,
    ),
  timeout,
);
