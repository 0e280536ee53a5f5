import { policy } from '../../src/program/policy';
import { loadProfiles } from '../fire/profiles';
import { schemaOf } from '../support/catalog';
import { databasePerTest } from '../support/database';
import { archive, change, holders, manyValues, people } from '../support/many-values';
import { functions, migrate } from '../support/routes';

// Many values go into the archive once nobody sees their columns, which are put aside for that.
const here = databasePerTest();
const { columns, count, digest, finish, inUse, once } = manyValues(here);

test('values of columns that go are archived in batches, once nobody sees the columns', async () => {
  await inUse();
  const before = await schemaOf(here().client);
  const said = await migrate(here().url, 'down', change);
  expect(said).toEqual([
    `user_profiles: make an archive for values of attempts, token, locked: ${archive}`,
    `user_profiles: close ${archive} to everybody but ${here().owner}`,
    'user_profiles: put attempts aside as attempts_16_aside',
    'user_profiles: put token aside as token_16_aside',
    'user_profiles: put locked aside as locked_16_aside',
    `user_profiles: archive ${holders} rows with values of attempts, token, locked in ${archive}, while everybody works on`,
    `user_profiles: archive the last 0 rows with values of attempts, token, locked in ${archive}`,
    'user_profiles: drop attempts_16_aside',
    'user_profiles: drop locked_16_aside',
    'user_profiles: drop token_16_aside',
    'user_profiles: drop user_profiles_16_before',
  ]);
  expect(await count(archive)).toBe(holders);
  await migrate(here().url, 'up', change);
  expect(await schemaOf(here().client)).toEqual(before);
});

test.each(
  [1, 2].flatMap((sends) =>
    ['knex', 'script'].flatMap((way) => (['up', 'down'] as const).map((next) => [sends, next, way] as const)),
  ),
)(
  'the way back ended after %d transactions: nothing is lost or seen, and %s by %s goes on from there',
  async (sends, next, way) => {
    const values = await inUse();
    for (let sent = 1; sent <= sends; sent++) expect(await once('down')).toBe(true);
    expect(await count(archive)).toBe(sends === 1 ? 0 : holders);
    expect(await count('user_profiles WHERE token_16_aside IS NOT NULL')).toBe(holders);
    expect(await columns('token')).toEqual([]);
    // The application before the change writes again.
    await here().client.query("UPDATE user_profiles SET phone = '1' WHERE id = 3");
    await finish[way]?.(next);
    expect(await columns('%\\_aside')).toEqual([]);
    if (next === 'down') {
      expect(await columns('token')).toEqual([]);
      await finish[way]?.('up');
    }
    expect(await digest()).toBe(values);
  },
);

test('to and fro: the way back is ended, then the way forward, then back again', async () => {
  const values = await inUse();
  for (const direction of ['down', 'down', 'up', 'up'] as const) expect(await once(direction)).toBe(true);
  expect(await count(archive)).toBe(holders - 2 * policy.batch);
  await migrate(here().url, 'down', change);
  expect(await count(archive)).toBe(holders);
  await migrate(here().url, 'up', change);
  expect(await digest()).toBe(values);
});

test('an archive that somebody dropped in between is made again', async () => {
  const values = await inUse();
  await once('down');
  await here().client.query(`DROP TABLE ${archive}`);
  await migrate(here().url, 'down', change);
  await migrate(here().url, 'up', change);
  expect(await digest()).toBe(values);
});

test('a value that somebody writes into a column put aside is archived as well', async () => {
  await inUse();
  await once('down');
  await here().client.query(`UPDATE user_profiles SET token_16_aside = 'late' WHERE id = ${people}`);
  await migrate(here().url, 'down', change);
  await migrate(here().url, 'up', change);
  expect(await count("user_profiles WHERE token = 'late'")).toBe(1);
});

test('a way back without a value leaves no archive', async () => {
  await inUse();
  await here().client.query('UPDATE user_profiles SET attempts = 0, token = NULL, locked = NULL');
  expect(await migrate(here().url, 'down', change)).toContain(
    `user_profiles: drop ${archive}: there was no value`,
  );
  expect((await schemaOf(here().client)).filter((line) => line.includes('user_profiles_16'))).toEqual([]);
});

test('an archive that is there already is not overwritten: no column is put aside', async () => {
  await inUse();
  await here().client.query(`CREATE TABLE ${archive} (id int)`);
  await expect(migrate(here().url, 'down', change)).rejects.toThrow('an archive is never overwritten');
  expect(await columns('%\\_aside')).toEqual([]);
});

test('from two names of the codes, there and back and there again', async () => {
  const { client } = here();
  await loadProfiles(client, people);
  await client.query(`ALTER TABLE user_profiles ADD mfa_backup_codes jsonb;
    UPDATE user_profiles SET mfa_backup_codes = CASE id % 3 WHEN 0 THEN '["N"]'::jsonb WHEN 1 THEN '[]' END`);
  const values = async (columns: string) =>
    (await client.query(`SELECT md5(string_agg(concat(id, ${columns}), ';' ORDER BY id)) FROM user_profiles`))
      .rows;
  const before = { schema: await schemaOf(client), codes: await values('backup_codes') };
  await functions.up(here());
  await client.query("UPDATE user_profiles SET external_id = rpad('e' || id, 90, 'x')");
  const after = await values('mfa_backup_codes, external_id');
  expect(await functions.down(here())).toContain(
    'user_profiles: put external_id aside as external_id_0016_aside',
  );
  expect(await schemaOf(client)).toEqual(expect.arrayContaining(before.schema));
  expect(await values('backup_codes')).toEqual(before.codes);
  expect(await functions.up(here())).toContain('user_profiles: rename external_id_0016_aside to external_id');
  expect(await values('mfa_backup_codes, external_id')).toEqual(after);
});
