import { plan } from '../../migrations/0016_add_security_fields';
import { schemaOf } from '../support/catalog';
import { databasePerTest, loadState, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { functions } from '../support/routes';

// Tables that inherit from the table.
const here = databasePerTest();

describe('a child', () => {
  beforeEach(() => loadState(here().client, '0015'));

  const newest = serverVersion >= 18 ? test : test.skip;
  newest('made by LIKE, with a NOT NULL of its own: nullable as well', async () => {
    const { client } = here();
    await client.query(`CREATE TABLE child (LIKE user_profiles INCLUDING ALL); ALTER TABLE child INHERIT user_profiles;
      INSERT INTO child SELECT * FROM user_profiles WHERE id = 1`);
    const before = await schemaOf(client);
    await functions.up(here());
    await client.query('UPDATE child SET mfa_backup_codes = NULL');
    await functions.down(here());
    expect(await schemaOf(client)).toEqual(before);
  });

  newest('of a child, each with a NOT NULL of its own: from above to below', async () => {
    const { client } = here();
    await client.query(`CREATE TABLE below (LIKE user_profiles INCLUDING ALL); CREATE TABLE middle (LIKE user_profiles INCLUDING ALL);
      ALTER TABLE below INHERIT middle; ALTER TABLE middle INHERIT user_profiles`);
    await functions.up(here());
    await client.query('UPDATE below SET mfa_backup_codes = NULL');
    await functions.down(here());
  });

  test('whose NOT NULL is its own alone: nullable as well', async () => {
    const { client } = here();
    await client.query(`CREATE TABLE child () INHERITS (user_profiles); INSERT INTO child SELECT * FROM user_profiles WHERE id = 1;
      ALTER TABLE user_profiles ALTER backup_codes DROP NOT NULL; ALTER TABLE child ALTER backup_codes SET NOT NULL`);
    await functions.up(here());
    await client.query('UPDATE child SET mfa_backup_codes = NULL');
  });

  test('with a column of its own that has the new name: refused, and plan says so', async () => {
    const { client, url } = here();
    await client.query('CREATE TABLE child (mfa_backup_codes text) INHERITS (user_profiles)');
    const refused = 'child has a column mfa_backup_codes of its own. ALTER TABLE ';
    await expect(functions.up(here())).rejects.toThrow(refused);
    const knex = await knexFor(url);
    const [conflict = ''] = (await plan(knex)).conflicts;
    await knex.destroy();
    await client.query(/ALTER TABLE .*;/.exec(conflict)?.[0] ?? '');
    await functions.up(here());
  });

  test('of another role: refused in words, and plan says so', async () => {
    const { client, admin, name } = here();
    await admin.query(
      `CREATE TABLE public.child () INHERITS (public.user_profiles); CREATE ROLE ${name}_x; ALTER TABLE public.child OWNER TO ${name}_x`,
    );
    const refused = `child belongs to ${name}_x, and only its owner may alter it; this session is ${here().owner}`;
    await expect(functions.up(here())).rejects.toThrow(refused);
    const knex = await knexFor(here().url);
    expect((await plan(knex)).conflicts).toEqual([expect.stringContaining(refused)]);
    await knex.destroy();
    await admin.query(`GRANT ${name}_x TO CURRENT_USER, ${here().owner}`);
    await functions.up(here());
    await client.query(`DROP TABLE child`);
    await admin.query(`DROP ROLE ${name}_x`);
  });

  test('that is a foreign table takes no lock', async () => {
    const { admin, owner } = here();
    await admin.query(`CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
      CREATE FOREIGN TABLE public.child () INHERITS (public.user_profiles) SERVER files OPTIONS (filename '/dev/null');
      ALTER FOREIGN TABLE public.child OWNER TO ${owner}`);
    expect((await functions.up(here())).join()).toMatch(
      /fails without the change as well: cannot update foreign table/,
    );
  });
});

test('a child that inherits NOT NULL and has none of its own: the statement of its parent is enough', async () => {
  const { client } = here();
  await loadState(client, '0015');
  await client.query('CREATE TABLE child () INHERITS (user_profiles)');
  expect((await functions.up(here())).join()).not.toContain('ALTER TABLE public.child');
});
