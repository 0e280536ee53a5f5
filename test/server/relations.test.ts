import { tableChange } from '../../src/table-change';
import { declaredShape, shapeOf } from '../support/application';
import { everythingIn, schemaOf } from '../support/catalog';
import { databasePerTest, loadState, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, migrate, migrateWith, type Route, scripts } from '../support/routes';

// What the name user_profiles may turn out to be.
const here = databasePerTest();

const asDeclared = { ...declaredShape, mfa_backup_codes: 'jsonb' };
const everything = () => everythingIn(here().client);

const aside = 'ALTER TABLE user_profiles RENAME TO profiles';
const notTable = (kind: string) =>
  new RegExp(`^user_profiles is not a table that stays, but: ${kind} (public\\.)?user_profiles`);

describe.each<[string, Route]>([
  ['up() and down()', functions],
  ['script', scripts],
])('%s: nothing changes where the name is', (_, route) => {
  test.each([
    ['nothing', aside, /^there is no table user_profiles on the search_path of/],
    ['a view', `${aside}; CREATE VIEW user_profiles AS SELECT * FROM profiles`, notTable('view')],
    [
      'a materialized view',
      `${aside}; CREATE MATERIALIZED VIEW user_profiles AS SELECT * FROM profiles`,
      notTable('materialized view'),
    ],
    ['a sequence', `${aside}; CREATE SEQUENCE user_profiles`, notTable('sequence')],
  ])('%s', async (_kind, prepared, message) => {
    await loadState(here().client, '0015');
    await here().client.query(prepared);
    const before = await everything();
    await expect(route.up(here())).rejects.toThrow(message);
    await expect(route.down(here())).rejects.toThrow(message);
    expect(await everything()).toEqual(before);
  });

  test.each([
    [
      'a partition',
      `${aside}; CREATE TABLE whole (LIKE profiles) PARTITION BY LIST (role); CREATE TABLE user_profiles PARTITION OF whole FOR VALUES IN ('patient')`,
      /^user_profiles is left as it was: cannot (rename inherited column|add column to a partition)/,
    ],
    [
      'an inheritance child',
      `${aside}; CREATE TABLE whole (email_verified boolean, backup_codes jsonb); CREATE TABLE user_profiles () INHERITS (whole)`,
      /^user_profiles is left as it was: cannot rename inherited column "backup_codes"/,
    ],
  ])('%s: in the words of the server', async (_kind, prepared, message) => {
    await loadState(here().client, '0015');
    await here().client.query(prepared);
    const before = await everything();
    await expect(route.up(here())).rejects.toThrow(message);
    expect(await everything()).toEqual(before);
  });

  test('a foreign table', async () => {
    const { client, admin, owner } = here();
    await admin.query(`CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
                       GRANT USAGE ON FOREIGN SERVER elsewhere TO ${owner}`);
    await client.query('CREATE FOREIGN TABLE user_profiles (id integer) SERVER elsewhere');
    await expect(route.up(here())).rejects.toThrow(notTable('foreign table'));
  });
});

test('a missing table: the error says what to do first', async () => {
  await expect(functions.up(here())).rejects.toThrow(
    /^there is no table user_profiles on the search_path of test_\w+_owner in database test_\w+\.?\nRun the application's migrations up to 0015 first \(not in production: SEED=1 npx knex seed:run\)\. If the table is in another schema, name it: DB_SCHEMA=/,
  );
});

test('a temporary table that hides the real one: nothing changes in either', async () => {
  const { client } = here();
  await loadState(client, '0015');
  const before = await everything();
  await client.query('CREATE TEMP TABLE user_profiles (id integer)');
  await expect(scripts.up(here())).rejects.toThrow(
    'user_profiles is not a table that stays, but: table user_profiles',
  );
  expect((await client.query('SELECT * FROM user_profiles')).fields.map(({ name }) => name)).toEqual(['id']);
  expect(await everything()).toEqual(before);
});

// Partitioned tables have primary keys from 11 on.
(serverVersion >= 11 ? test : test.skip)(
  'a partitioned table: there and back, with its partitions',
  async () => {
    const { client } = here();
    await client.query(`
    CREATE TABLE user_profiles (id integer, user_id integer NOT NULL, mfa_enabled boolean NOT NULL, backup_codes jsonb NOT NULL,
                                email_verified boolean NOT NULL, email_verification_token varchar(100), PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF user_profiles FOR VALUES FROM (0) TO (100);
    CREATE TABLE high PARTITION OF user_profiles FOR VALUES FROM (100) TO (200);
    INSERT INTO user_profiles SELECT g, g, true, '["A"]', true FROM generate_series(50, 150) g`);
    const before = await everything();
    await functions.up(here());
    expect(await shapeOf(client)).toEqual(asDeclared);
    await client.query("UPDATE user_profiles SET external_id = 'x' || id");
    await functions.down(here());
    await functions.up(here());
    expect(
      (await client.query("SELECT count(*)::int AS n FROM high WHERE external_id = 'x' || id")).rows,
    ).toEqual([{ n: 51 }]);
    await client.query('UPDATE user_profiles SET external_id = NULL');
    await functions.down(here());
    expect(await everything()).toEqual(before);
  },
);

test('DB_SCHEMA names the schema; a table of the same name elsewhere is left alone', async () => {
  const { client, url } = here();
  await client.query('CREATE SCHEMA "Health Care"; SET search_path = "Health Care"');
  await loadState(client, '0015');
  await client.query('SET search_path = public');
  await loadState(client, 'both-names');
  const [elsewhere, before] = [await everything(), await schemaOf(client, 'Health Care')];
  const env = { DB_SCHEMA: 'Health Care' };
  await migrate(url, 'up', undefined, env);
  await client.query('SET search_path = "Health Care"');
  expect(await shapeOf(client)).toEqual(asDeclared);
  await migrate(url, 'down', undefined, env);
  await client.query('SET search_path = public');
  expect(await schemaOf(client, 'Health Care')).toEqual(before);
  expect(await everything()).toEqual(elsewhere);
});

test('DB_SCHEMA where the table is not: refused, and not the one in public', async () => {
  const { client, url } = here();
  await loadState(client, '0015');
  await client.query('CREATE SCHEMA tenant');
  const before = await everything();
  await expect(migrate(url, 'up', undefined, { DB_SCHEMA: 'tenant' })).rejects.toThrow(
    /^there is no table tenant\.user_profiles /,
  );
  expect(await everything()).toEqual(before);
});

describe('names that need quoting, in another declaration', () => {
  const odd = tableChange({
    id: '7',
    table: `Per%s "O'Neill" {rows}`,
    schema: 'odd; schema',
    add: {
      'sélect "x"': { type: 'varchar(10)', notNull: true, default: `'it''s %I'` },
      order: { type: 'timestamptz', default: 'now()' },
      'Größe in %': { type: 'numeric(5,2)' },
      state: { type: 'jsonb', notNull: true, default: `'{"a": "$rules$"}'` },
    },
    rename: { from: 'From "here"', to: 'To {rows}', type: 'text', moveWhere: 'is ON', empty: `'none'` },
  });
  const table = `"odd; schema"."Per%s ""O'Neill"" {rows}"`;

  test.each([
    ['renamed', '"From ""here"" " text'],
    ['both', `"From ""here""" text NOT NULL DEFAULT 'd', "To {rows}" text`],
    [
      'one there',
      `"From ""here""" text, "order" timestamptz NOT NULL DEFAULT now(), "sélect ""x""" varchar(8)`,
    ],
  ])('%s: there and back, with values', async (_, columns) => {
    const { client, url } = here();
    await client.query(`CREATE SCHEMA "odd; schema";
      CREATE TABLE ${table} ("the ""key" text, "second;" integer, "is ON" boolean NOT NULL, ${columns}, PRIMARY KEY ("the ""key", "second;"));
      INSERT INTO ${table} ("the ""key", "second;", "is ON") SELECT 'k' || g, g, g % 2 = 0 FROM generate_series(1, 6) g`);
    const before = await schemaOf(client, 'odd; schema');
    await migrate(url, 'up', odd);
    const knex = await knexFor(url);
    try {
      expect((await odd.verify(knex)).asDeclared).toBe(true);
      expect((await odd.plan(knex)).steps).toEqual([]);
      await client.query(
        `UPDATE ${table} SET "Größe in %" = "second;" / 2.0, "sélect ""x""" = 's' || "second;"`,
      );
      const rows = () =>
        client.query(`SELECT "second;", "Größe in %", "sélect ""x""" FROM ${table} ORDER BY 1`);
      const values = (await rows()).rows;
      await migrateWith(knex, 'down', odd);
      await migrateWith(knex, 'up', odd);
      expect((await rows()).rows).toEqual(values);
      await migrateWith(knex, 'down', odd);
      const left = await schemaOf(client, 'odd; schema');
      expect(left.filter((line) => !line.includes('_down_archive'))).toEqual(before);
    } finally {
      await knex.destroy();
    }
  });

  test('its script', async () => {
    const { client } = here();
    const names = { up: 'sql/7_up.sql', down: 'sql/7_down.sql' };
    await client.query(
      `CREATE SCHEMA "odd; schema"; CREATE TABLE ${table} (id integer PRIMARY KEY, "is ON" boolean)`,
    );
    const before = await schemaOf(client, 'odd; schema');
    await client.query(odd.script('up', names));
    expect(await schemaOf(client, 'odd; schema')).not.toEqual(before);
    await client.query(odd.script('down', names));
    expect(await schemaOf(client, 'odd; schema')).toEqual(before);
  });
});
