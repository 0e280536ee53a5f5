import { setTimeout as sleep } from 'node:timers/promises';
import { everythingIn } from '../support/catalog';
import { connect, databasePerTest, serverVersion } from '../support/database';
import { functions, type Route, scripts } from '../support/routes';

// Where the table outgrew one machine's patience: native partitions.
const here = databasePerTest('0015');

/** Makes the table of state 0015 a partitioned one, with its rows. The key of the partitions is part of the primary key. */
async function partition(by: string, partitions: readonly string[]): Promise<void> {
  const { client } = here();
  const [, key] = /\((\w+)\)/.exec(by) ?? [];
  await client.query(`
    ALTER TABLE user_profiles RENAME TO whole;
    CREATE TABLE user_profiles (LIKE whole INCLUDING DEFAULTS) PARTITION BY ${by};
    ${partitions.map((bounds, i) => `CREATE TABLE part_${i} PARTITION OF user_profiles ${bounds};`).join('\n')}
    UPDATE whole SET role = CASE id % 3 WHEN 0 THEN 'patient' WHEN 1 THEN 'doctor' ELSE 'admin' END,
                     created_at = timestamptz '2024-06-01' + id * interval '40 days';
    INSERT INTO user_profiles SELECT * FROM whole;
    DROP TABLE whole`);
  if (serverVersion >= 11)
    await client.query(`ALTER TABLE user_profiles ADD PRIMARY KEY (id${key === 'id' ? '' : `, ${key}`})`);
}

/** The columns of the change, in every partition and in the table: one answer where all are alike. */
async function shapes(): Promise<string[]> {
  const { rows } = await here().client.query(`
    SELECT DISTINCT string_agg(format('%s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)),
                               ', ' ORDER BY a.attname) AS shape
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND (c.relname = 'user_profiles' OR c.relname LIKE 'part%') AND a.attname <> 'id'
    GROUP BY c.oid`);
  return rows.map(({ shape }) => shape);
}

const everything = () => everythingIn(here().client);

async function thereAndBack(route: Route): Promise<void> {
  const before = await everything();
  await route.up(here());
  const [shape, ...others] = await shapes();
  expect(others).toEqual([]);
  expect(shape).toMatch(/failed_login_attempts integer t 0,.* mfa_backup_codes jsonb f /);
  await here().client.query(
    `UPDATE user_profiles SET failed_login_attempts = 3, external_id = 'x' || id WHERE role = 'doctor'`,
  );
  const changed = await everything();

  // Without a primary key (partitioned tables have them from 11) nothing could bring the values back.
  if (serverVersion < 11) {
    await expect(route.down(here())).rejects.toThrow(/primary key/);
    await here().client.query('UPDATE user_profiles SET failed_login_attempts = 0, external_id = NULL');
    await route.down(here());
    expect(await everything()).toEqual(before);
    return;
  }
  await route.down(here());
  const { data, schema } = await everything();
  expect(data).toEqual({ ...before.data, user_profiles_0016_down_archive: expect.any(Array) });
  expect(data['user_profiles_0016_down_archive']).toHaveLength(7);
  expect(schema.filter((line) => !line.includes('_down_archive'))).toEqual(before.schema);
  await route.up(here());
  expect(await everything()).toEqual(changed);
}

describe.each<[string, Route]>([
  ['Knex', functions],
  ['script', scripts],
])('%s', (_, route) => {
  test('list', async () => {
    await partition('LIST (role)', [
      "FOR VALUES IN ('patient')",
      "FOR VALUES IN ('doctor')",
      "FOR VALUES IN ('admin', 'nobody')",
    ]);
    await thereAndBack(route);
  });

  test('range', async () => {
    const years = [2024, 2025, 2026, 2027];
    await partition(
      'RANGE (created_at)',
      years.map((year) => `FOR VALUES FROM ('${year}-01-01') TO ('${year + 1}-01-01')`),
    );
    await thereAndBack(route);
  });

  (serverVersion >= 11 ? test : test.skip)('hash', async () => {
    await partition(
      'HASH (id)',
      [0, 1, 2, 3].map((rest) => `FOR VALUES WITH (MODULUS 4, REMAINDER ${rest})`),
    );
    await thereAndBack(route);
  });
});

test('256 partitions', async () => {
  await partition('RANGE (id)', oneEach(256));
  await here().client.query('ALTER TABLE user_profiles ALTER email_verification_token TYPE varchar(255)');
  await thereAndBack(functions);
});

test('where many partitions would be rewritten the wider type stays, and is said', async () => {
  await partition('RANGE (id)', oneEach(32));
  await functions.up(here());
  expect(await functions.down(here())).toContainEqual(
    expect.stringMatching(
      /^user_profiles: leave email_verification_token as character varying\(255\).* in 33 tables\. At a quiet hour: ALTER TABLE /,
    ),
  );
});

function oneEach(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `FOR VALUES FROM (${i}) TO (${i + 1})`);
}

test('a short deadlock_timeout: whoever has read a partition and goes on to the whole is not ended by the server', async () => {
  const { client, admin, name, url } = here();
  await partition('RANGE (id)', ['FOR VALUES FROM (0) TO (100)']);
  await admin.query(`ALTER DATABASE ${name} SET deadlock_timeout = '50ms'`);
  const application = await connect(url);
  await application.query('BEGIN; SELECT FROM part_0');
  const done = functions.up(here());
  const asked = "SELECT FROM pg_locks WHERE relation = 'part_0'::regclass AND mode = 'AccessExclusiveLock'";
  while ((await client.query(asked)).rows.length === 0) await sleep(1);
  await sleep(70);
  await application.query('SELECT FROM user_profiles');
  await application.end();
  await done;
});
