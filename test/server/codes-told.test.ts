import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Knex } from 'knex';
import { plan } from '../../migrations/0016_add_security_fields';
import { databasePerTest, urlWith } from '../support/database';
import { knexFor } from '../support/knex';
import { migrateWith } from '../support/routes';

// What plan says of people's codes where both names exist.
const here = databasePerTest('0015');
let knex: Knex;
beforeEach(async () => {
  knex = await knexFor(here().url);
});
afterEach(() => knex.destroy());

const warnings = async (direction: 'up' | 'down' = 'up') =>
  (await plan(knex, direction)).warnings.filter((line) => !line.includes(' rewrites the table '));

const bothNames = readFileSync(join(__dirname, '../states/both-names.sql'), 'utf8');

test('both names, taken back, and codes spent under the old one: how many, and the statement that has these move', async () => {
  const { client } = here();
  await client.query(bothNames);
  await migrateWith(knex, 'up');
  await migrateWith(knex, 'down');
  const spent = `["E5F6-G7H8"]`;
  await client.query('UPDATE user_profiles SET backup_codes = $1 WHERE id = 2', [spent]);
  const line = (await warnings()).find((warning) => warning.includes('holds others')) ?? '';
  expect(line).toMatch(
    /^2 people's backup_codes would go into the archive, as mfa_backup_codes holds others; where the old ones are the fresher, have them move: /,
  );
  await client.query(line.replace(/^.*have them move: /, ''));
  await migrateWith(knex, 'up');
  const { rows } = await client.query('SELECT mfa_backup_codes AS codes FROM user_profiles WHERE id = 2');
  expect(rows).toEqual([{ codes: spent }]);
});

describe('both names: whose old codes would work again', () => {
  const moving = async () => (await warnings()).filter((line) => line.includes(' would move into '));
  const said = (count: number, clause: string) =>
    `${count} people's backup_codes would move into mfa_backup_codes and work again, and nothing tells which are spent. ` +
    `To clear all of these before: UPDATE public.user_profiles SET backup_codes = ${clause};`;
  const empty = `mfa_backup_codes IS NULL AND mfa_enabled AND backup_codes::pg_catalog.text <> '[]'`;

  test('how many, as many move, and the statement that clears them', async () => {
    const { client } = here();
    await client.query(bothNames);
    const { rows } = await client.query(`SELECT count(*)::int AS n FROM user_profiles WHERE ${empty}`);
    expect(rows[0].n).toBeGreaterThan(0);
    const [line = ''] = await warnings();
    expect(line).toBe(said(rows[0].n, `'[]' WHERE ${empty}`));
    expect(await migrateWith(knex, 'up')).toContainEqual(
      expect.stringMatching(new RegExp(`^UPDATE .* SET mfa_backup_codes = .*\\(${rows[0].n} rows\\)$`)),
    );
    expect(await warnings()).toEqual([]);
    expect(await warnings('down')).toEqual([]);
  });

  test('cleared by it, nobody', async () => {
    const { client } = here();
    await client.query(bothNames);
    const [line = ''] = await moving();
    await client.query(line.replace(/^.*before: /, ''));
    expect(await moving()).toEqual([]);
    expect((await migrateWith(knex, 'up')).join()).toContain('(0 rows)');
  });

  test('an array, whose none is {}', async () => {
    await here().client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes text[], DROP backup_codes,
      ADD backup_codes text[] NOT NULL DEFAULT '{A}'`);
    const enabled = empty.replace("'[]'", "'{}'");
    expect(await warnings()).toEqual([said(10, `'{}' WHERE ${enabled}`)]);
    await here().client.query((await warnings())[0]?.replace(/^.*before: /, '') ?? '');
    expect(await warnings()).toEqual([]);
  });

  test('not counted where it is refused, or by a role that may not read the table', async () => {
    const { client, admin, name, url } = here();
    await client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes jsonb;
      ALTER TABLE user_profiles RENAME mfa_enabled TO is_on`);
    expect([await warnings(), (await plan(knex)).conflicts.length]).toEqual([[], 1]);
    await client.query('ALTER TABLE user_profiles RENAME is_on TO mfa_enabled');
    expect(await warnings()).toHaveLength(1);
    await admin.query(
      `CREATE ROLE ${name}_reader LOGIN PASSWORD 'r'; GRANT SELECT (id) ON user_profiles TO ${name}_reader`,
    );
    const reader = await knexFor(urlWith(url, { username: `${name}_reader`, password: 'r' }));
    try {
      expect((await plan(reader)).warnings.join()).not.toContain('work again');
    } finally {
      await reader.destroy();
      await admin.query(`DROP OWNED BY ${name}_reader; DROP ROLE ${name}_reader`);
    }
  });

  test.each(['quote_all_identifiers = on', 'standard_conforming_strings = off'])(
    'with %s as well',
    async (setting) => {
      const { admin, owner, client } = here();
      await client.query(bothNames);
      const before = await moving();
      expect(before).toHaveLength(1);
      await admin.query(`ALTER ROLE ${owner} SET ${setting}`);
      await knex.destroy();
      knex = await knexFor(here().url);
      expect(await moving()).toEqual(before);
    },
  );

  test('where row-level security hides rows from the owner: not how many, and who can clear them', async () => {
    const { client, admin } = here();
    await client.query(bothNames);
    await client.query(`ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
      CREATE POLICY nobody ON user_profiles USING (false)`);
    const [line = ''] = await warnings();
    expect(line).toMatch(
      /^an unknown number of people's .* To clear all of these before, as a role from which .* hides nothing: UPDATE/,
    );
    await admin.query(line.replace(/^.*hides nothing: /, ''));
    expect((await migrateWith(knex, 'up')).join()).toContain('(0 rows)');
  });
});

test.each(["text NOT NULL DEFAULT ''", "jsonb NOT NULL DEFAULT '[]'"])(
  'the new name holds none, and is not NULL (%s): the old codes would be archived; what is said has them move',
  async (type) => {
    const { client } = here();
    await client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes ${type}`);
    const [line = '', ...others] = await warnings();
    expect([line, others]).toEqual([
      expect.stringMatching(/^10 people's backup_codes would go into the archive, /),
      [],
    ]);
    await client.query(line.replace(/^.*have them move: /, ''));
    expect(await warnings()).toEqual([expect.stringMatching(/^10 people's .* work again/)]);
    expect((await migrateWith(knex, 'up')).join()).toContain('(10 rows)');
  },
);
