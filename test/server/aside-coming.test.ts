import { policy } from '../../src/program/policy';
import { tableChange } from '../../src/table-change';
import { loadProfiles } from '../fire/profiles';
import { schemaOf } from '../support/catalog';
import { connect, databasePerTest } from '../support/database';
import { knexFor } from '../support/knex';
import { archive, change, declaration, holders, manyValues, people } from '../support/many-values';
import { migrate } from '../support/routes';

// Many values come back in batches that commit, while their columns are put aside.
const here = databasePerTest();
const { columns, count, digest, finish, inUse, once, takenBack } = manyValues(here);

test('all come back, in batches, and nothing is left of the archive and the names in between', async () => {
  const values = await takenBack();
  const said = (await migrate(here().url, 'up', change)).filter(
    (line) => !line.includes('before PostgreSQL 11'),
  );
  expect(said.slice(0, 4)).toEqual([
    'user_profiles: add attempts as attempts_16_aside, until it has its values back',
    'user_profiles: add token as token_16_aside, until it has its values back',
    'user_profiles: add locked as locked_16_aside, until it has its values back',
    `user_profiles: give back values from ${archive}, 2000 at a time, while everybody works on`,
  ]);
  expect(said).toContain('user_profiles: rename attempts_16_aside to attempts');
  expect(said).toContain(`user_profiles: give back the values of the last 0 rows from ${archive}`);
  expect(said.at(-1)).toBe(`user_profiles: drop ${archive}: all its values are back`);
  expect(await digest()).toBe(values);
  expect(await columns('%\\_aside')).toEqual([]);
  expect((await schemaOf(here().client)).filter((line) => line.includes('archive'))).toEqual([]);
  const { lines, asDeclared } = await verification();
  expect(lines.at(-1)).toBe('user_profiles is as declared.');
  expect(asDeclared).toBe(true);
  // The shape before is the one without the names in between.
  await migrate(here().url, 'down', change);
  expect(await columns('%\\_aside')).toEqual([]);
});

test('where all tables are published, and rows without an identity cannot be deleted', async () => {
  const { admin } = here();
  await admin.query('CREATE PUBLICATION everything FOR ALL TABLES');
  try {
    const values = await takenBack();
    await migrate(here().url, 'up', change);
    expect(await digest()).toBe(values);
  } finally {
    await admin.query('DROP PUBLICATION everything');
  }
});

test('the plan says so, and has what a script would do', async () => {
  await takenBack();
  const knex = await knexFor(here().url);
  try {
    const { inBatches, lines, rules } = await change.plan(knex);
    expect(inBatches).toBe(true);
    expect(lines).toContainEqual(expect.stringMatching(/^There are many values\./));
    expect(rules.map(({ phase }) => phase)).not.toContain('stage');
    await migrate(here().url, 'up', change);
    expect(await change.plan(knex)).toMatchObject({ inBatches: false, rules: [] });
    expect((await change.plan(knex, 'down')).inBatches).toBe(true);
  } finally {
    await knex.destroy();
  }
});

async function verification() {
  const knex = await knexFor(here().url);
  try {
    return await change.verify(knex);
  } finally {
    await knex.destroy();
  }
}

test.each([1, 3].flatMap((sends) => ['knex', 'script'].map((way) => [sends, way] as const)))(
  'ended after %d transactions: nothing is lost or seen, and %s goes on from there',
  async (sends, way) => {
    const values = await takenBack();
    for (let sent = 1; sent <= sends; sent++) expect(await once()).toBe(true);
    // Each value is in one place.
    const moved = Math.min(holders, (sends - 1) * policy.batch);
    expect(await count(archive)).toBe(holders - moved);
    expect(await count('user_profiles WHERE token_16_aside IS NOT NULL')).toBe(moved);
    // The application sees none of it, and the way back has nothing to do.
    expect(await columns('token')).toEqual([]);
    expect((await verification()).asDeclared).toBe(false);
    const before = await schemaOf(here().client);
    const said = await migrate(here().url, 'down', change);
    expect(said).toContain('user_profiles: nothing to do');
    expect(said.join()).toContain('Values are on their way back to the columns put aside');
    expect(await schemaOf(here().client)).toEqual(before);
    await finish[way]?.('up');
    expect(await digest()).toBe(values);
    expect(await columns('%\\_aside')).toEqual([]);
  },
);

test('rows that come, go, are held by others or refuse in between', async () => {
  await takenBack();
  const { client, url } = here();
  await client.query(`
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER keep BEFORE UPDATE ON user_profiles FOR EACH ROW WHEN (OLD.id = 7) EXECUTE PROCEDURE keep();
    CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
    CREATE TRIGGER stay BEFORE UPDATE ON user_profiles FOR EACH ROW WHEN (OLD.id = 9) EXECUTE PROCEDURE stay()`);
  expect(await once()).toBe(true);
  const other = await connect(url);
  try {
    await client.query('DELETE FROM user_profiles WHERE id = 5');
    await other.query("BEGIN; UPDATE user_profiles SET phone = '1' WHERE id = 6");
    while (await once().catch(({ code }) => expect(code).toBe('55P03')));
    expect(
      (await client.query(`SELECT id FROM ${archive} ORDER BY id`)).rows.map(({ id }) => Number(id)),
    ).toEqual([5, 6, 7, 9]);
    await other.query('COMMIT');
  } finally {
    await other.end();
  }
  const said = await migrate(url, 'up', change);
  expect(said.at(-1)).toMatch(/archive stays: it holds values that are not back, as of rows that are gone/);
  const { rows } = await client.query(
    'SELECT id::int, token IS NULL AS without FROM user_profiles WHERE id IN (6, 7, 8) ORDER BY id',
  );
  expect(rows).toEqual([
    { id: 6, without: false },
    { id: 7, without: true },
    { id: 8, without: false },
  ]);
});

test('values of a type that somebody has widened come back into as wide a one', async () => {
  await inUse();
  await here().client.query(`
    ALTER TABLE user_profiles ALTER token TYPE varchar(999); UPDATE user_profiles SET token = rpad(token, 300, 'y')`);
  const values = await digest();
  await migrate(here().url, 'down', change);
  expect(await migrate(here().url, 'up', change)).toContainEqual(expect.stringContaining('token_16_aside'));
  expect(await digest()).toBe(values);
});

test('a column under both names is looked into by a person', async () => {
  await takenBack();
  await once();
  await once();
  await here().client.query('ALTER TABLE user_profiles ADD token text');
  await expect(migrate(here().url, 'up', change)).rejects.toThrow(
    'token_16_aside is there beside token, and may hold values on their way',
  );
  expect(await columns('token%')).toEqual(['token', 'token_16_aside']);
});

test.each([
  [52, true],
  [53, false],
])(
  'the name for being put aside has room for 63 bytes: one of %i is put aside: %s',
  async (length, isPutAside) => {
    const { client, url } = here();
    const name = 'n'.repeat(length);
    const long = tableChange({ ...declaration, id: '0016', add: { [name]: { type: 'varchar(255)' } } });
    await loadProfiles(client, people);
    await migrate(url, 'up', long);
    await client.query(`UPDATE user_profiles SET ${name} = rpad('t' || id, 80, 'x')`);
    await migrate(url, 'down', long);
    const said = await migrate(url, 'up', long);
    expect(said.some((line) => line.includes(`add ${name} as ${name}_0016_aside`))).toBe(isPutAside);
    expect(await count(`user_profiles WHERE ${name} = rpad('t' || id, 80, 'x')`)).toBe(people);
  },
);

test('it gives up after some batches: what is prepared stays, and that is said', async () => {
  const values = await takenBack();
  const { url } = here();
  const other = await connect(url);
  await once();
  try {
    await other.query('BEGIN; SELECT FROM user_profiles LIMIT 1');
    process.env['MIGRATION_LOCK_DEADLINE'] = '0';
    await expect(migrate(url, 'up', change)).rejects.toThrow(
      /Given up after 1 tries in 0\.\d s\. What is done so far stays, and nothing is locked: the same command again goes on/,
    );
  } finally {
    delete process.env['MIGRATION_LOCK_DEADLINE'];
    await other.end();
  }
  await migrate(url, 'up', change);
  expect(await digest()).toBe(values);
});
