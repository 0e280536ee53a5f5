import { checked, type Declaration } from '../../src/declaration';
import { policy } from '../../src/program/policy';
import { program } from '../../src/program/program';
import { type Direction, tableChange } from '../../src/table-change';
import { loadProfiles } from '../fire/profiles';
import { schemaOf } from '../support/catalog';
import { connect, databasePerTest, freshDatabase } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, migrate, migrateWith } from '../support/routes';
import { startTestServer, testCluster } from '../support/server';

// Many values come back, and go, in batches that commit, while their columns are put aside.
const here = databasePerTest();
const declaration: Declaration = {
  id: '16',
  table: 'user_profiles',
  add: {
    attempts: { type: 'integer', notNull: true, default: '0' },
    token: { type: 'varchar(255)' },
    locked: { type: 'timestamptz' },
  },
};
const change = tableChange(declaration);
const people = 6_000;
/** More than two batches, and more than is given back at once. */
const holders = 2 * policy.batch + 500;

/** Made, with values, and a digest of them. */
async function inUse(): Promise<string> {
  const { client, url } = here();
  await loadProfiles(client, people);
  await migrate(url, 'up', change);
  await client.query(
    `UPDATE user_profiles SET attempts = id % 5 + 1, token = rpad('t' || id, 80, 'x'), locked = now() + id * interval '1 s' WHERE id <= ${holders}`,
  );
  return digest();
}

/** There and back with values, and a digest of them. */
async function takenBack(): Promise<string> {
  const values = await inUse();
  await migrate(here().url, 'down', change);
  return values;
}

const digest = async () =>
  (
    await here().client.query(
      "SELECT md5(string_agg(concat_ws('|', id, attempts, token, locked), ';' ORDER BY id)) AS digest FROM user_profiles",
    )
  ).rows[0].digest as string;

/** Sends the program once, in one transaction, as `run` does, and gives whether there is more to do. */
async function once(direction: Direction = 'up'): Promise<boolean> {
  const results: unknown = await here().client.query(
    `${program(checked(declaration), direction, { inBatches: true })}; SELECT current_setting('table_change.again') AS again`,
  );
  return (results as { rows: { again: string }[] }[])[1]?.rows[0]?.again === 'true';
}

const finish: Record<string, (direction: Direction) => Promise<unknown>> = {
  knex: (direction) => migrate(here().url, direction, change),
  script: (direction) => here().client.query(change.script(direction, { up: 'up.sql', down: 'down.sql' })),
};
const columns = async (like: string) =>
  (
    await here().client.query(
      `SELECT attname FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND attname LIKE '${like}' AND NOT attisdropped
       ORDER BY attname`,
    )
  ).rows.map(({ attname }) => attname);
const count = async (what: string) =>
  (await here().client.query(`SELECT count(*)::int AS n FROM ${what}`)).rows[0].n as number;
const archive = 'user_profiles_16_down_archive';

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
    expect(await migrate(here().url, 'down', change)).toContain('user_profiles: nothing to do');
    expect(await schemaOf(here().client)).toEqual(before);
    await finish[way]?.('up');
    expect(await digest()).toBe(values);
    expect(await columns('%\\_aside')).toEqual([]);
  },
);

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

test('rows that come, go, are held by others or refuse in between', async () => {
  await takenBack();
  const { client, url } = here();
  await client.query(`
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER keep BEFORE UPDATE ON user_profiles FOR EACH ROW WHEN (OLD.id = 7) EXECUTE PROCEDURE keep()`);
  expect(await once()).toBe(true);
  const other = await connect(url);
  try {
    await client.query('DELETE FROM user_profiles WHERE id = 5');
    await other.query("BEGIN; UPDATE user_profiles SET phone = '1' WHERE id = 6");
    while (await once().catch(({ code }) => expect(code).toBe('55P03')));
    expect(
      (await client.query(`SELECT id FROM ${archive} ORDER BY id`)).rows.map(({ id }) => Number(id)),
    ).toEqual([5, 6, 7]);
    await other.query('COMMIT');
  } finally {
    await other.end();
  }
  const said = await migrate(url, 'up', change);
  expect(said.at(-1)).toMatch(/archive stays: it holds values of rows that are gone/);
  const { rows } = await client.query(
    'SELECT id::int, token IS NULL AS without FROM user_profiles WHERE id IN (6, 7, 8) ORDER BY id',
  );
  expect(rows).toEqual([
    { id: 6, without: false },
    { id: 7, without: true },
    { id: 8, without: false },
  ]);
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

describe('at once, where no batch may be committed', () => {
  const expectAtOnce = (said: readonly string[]) => {
    expect(said.filter((line) => /_aside|at a time/.test(line))).toEqual([]);
    expect(said).toContain(`user_profiles: give back the values of ${holders} rows from ${archive}`);
  };

  test("in Knex's transaction", async () => {
    const values = await takenBack();
    const knex = await knexFor(here().url);
    try {
      await knex.transaction(async (trx) => {
        await trx.raw('LOCK TABLE user_profiles');
        expectAtOnce((await migrateWith(trx as never, 'up', change)).slice(1));
      });
    } finally {
      await knex.destroy();
    }
    expect(await digest()).toBe(values);
  });

  test('under forced row-level security', async () => {
    const values = await takenBack();
    await here().client.query(
      'ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
    );
    expectAtOnce(await migrate(here().url, 'up', change));
    await here().client.query('ALTER TABLE user_profiles NO FORCE ROW LEVEL SECURITY');
    expect(await digest()).toBe(values);
  });

  test('where a subscriber may ask for columns of such names', async () => {
    const server = await startTestServer(
      testCluster({ wal_level: 'logical', max_replication_slots: '1', max_wal_senders: '1' }),
    );
    try {
      const { url, client, admin } = await freshDatabase(server.url);
      await loadProfiles(client, people);
      await admin.query("SELECT pg_create_logical_replication_slot('profiles', 'pgoutput')");
      await migrate(url, 'up', change);
      await client.query("UPDATE user_profiles SET token = 'x'");
      const down = await migrate(url, 'down', change);
      const up = await migrate(url, 'up', change);
      expect([...down, ...up].filter((line) => /_aside|at a time/.test(line))).toEqual([]);
      expect(up).toContain(`user_profiles: give back the values of ${people} rows from ${archive}`);
      await admin.query("SELECT pg_drop_replication_slot('profiles')");
    } finally {
      await server.remove();
    }
  });

  test('where there are few', async () => {
    await takenBack();
    await here().client.query(`CREATE TABLE few AS SELECT * FROM ${archive} WHERE id <= 1000; DROP TABLE ${archive};
                               ALTER TABLE few RENAME TO ${archive}`);
    const said = await migrate(here().url, 'up', change);
    expect(said).toContain(`user_profiles: give back the values of 1000 rows from ${archive}`);
  });
});

test('it gives up after some batches: what is prepared stays, and that is said', async () => {
  const values = await takenBack();
  const { url } = here();
  const other = await connect(url);
  await once();
  try {
    await other.query('BEGIN; SELECT FROM user_profiles LIMIT 1');
    process.env['MIGRATION_LOCK_DEADLINE'] = '0';
    await expect(migrate(url, 'up', change)).rejects.toThrow(
      /Given up after 1 tries in 0\.\d s\. What is done so far stays, and nothing is locked: the next run goes on/,
    );
  } finally {
    delete process.env['MIGRATION_LOCK_DEADLINE'];
    await other.end();
  }
  await migrate(url, 'up', change);
  expect(await digest()).toBe(values);
});
