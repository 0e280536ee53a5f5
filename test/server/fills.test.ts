import { setTimeout as sleep } from 'node:timers/promises';
import { tableChange } from '../../src/table-change';
import { loadProfiles } from '../fire/profiles';
import { connect, databasePerTest, serverVersion } from '../support/database';
import { knexFor } from '../support/knex';
import { migrate } from '../support/routes';

// NULLs where none may be: many of them are filled before the lock of the change.
const here = databasePerTest();
const people = 6_000;
/** Before 11 a DO cannot COMMIT: there they are filled behind the lock. */
const from11 = serverVersion < 11 ? test.skip : test;

const filling = tableChange({
  id: '17',
  table: 'user_profiles',
  add: { phone: { type: 'varchar(20)', notNull: true, default: "'none'" } },
});

test.each(['up()', 'script'])('many, in batches: %s', async (route) => {
  const { client, url } = here();
  await loadProfiles(client, people);
  const said: (string | undefined)[] = [];
  client.on('notice', ({ message }) => said.push(message));
  if (route === 'script') await client.query(filling.script('up', { up: 'up.sql', down: 'down.sql' }));
  else said.push(...(await migrate(url, 'up', filling)));
  const way = serverVersion < 11 ? '\\d+ rows' : '2000 rows at a time, while everybody works on';
  const fill = `^UPDATE public\\.user_profiles SET phone = coalesce\\(phone, 'none'\\) WHERE .*phone IS NULL\\)? \\(${way}\\)$`;
  expect(said).toContainEqual(expect.stringMatching(new RegExp(fill)));
  const { rowCount } = await client.query("SELECT FROM user_profiles WHERE phone = 'none'");
  expect(rowCount).toBeGreaterThan(people - 21);
});

test('plan says that they are filled before the lock', async () => {
  await loadProfiles(here().client, people);
  const knex = await knexFor(here().url);
  const { steps } = await filling.plan(knex);
  await knex.destroy();
  const fill = steps.findIndex((step) => step.startsWith('UPDATE '));
  const lock = steps.findIndex((step) => step.startsWith('LOCK '));
  expect(fill < lock).toBe(serverVersion >= 11);
  expect(steps[fill]).toMatch(serverVersion < 11 ? /;$/ : /; -- 2000 rows at a time, before the lock$/);
});

test('one that somebody holds is waited for, without the lock, and they are named', async () => {
  const { client, url } = here();
  await loadProfiles(client, people);
  const [other, reader] = await Promise.all([connect(url), connect(url)]);
  await reader.query('BEGIN; SELECT FROM user_profiles');
  await other.query('BEGIN; UPDATE user_profiles SET phone = NULL WHERE id = 9');
  const made = migrate(url, 'up', filling);
  // Two tries, at least.
  for (let waits = 0; waits < 2; await sleep(210)) {
    const { rowCount } = await client.query(
      'SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()',
    );
    waits += rowCount ?? 0;
  }
  await Promise.all([other.query('COMMIT'), reader.query('COMMIT')]);
  const lock = serverVersion < 11 ? 'ACCESS EXCLUSIVE' : 'ROW EXCLUSIVE';
  const [first] = (await made).filter((line) => line.includes('Try 1;'));
  expect(first).toMatch(`is in use: no ${lock} lock in time. Try 1; the next one in`);
  // Who only reads is in nobody's way before the lock of the change.
  expect(first?.match(/pid \d+/g)).toHaveLength(serverVersion < 11 ? 2 : 1);
  await Promise.all([other.end(), reader.end()]);
  const { rowCount } = await client.query('SELECT FROM user_profiles WHERE phone IS NULL');
  expect(rowCount).toBe(0);
});

test('one that comes after the batches', async () => {
  const { client, url } = here();
  await loadProfiles(client, people);
  // What fills it fires triggers as well.
  await client.query(`CREATE TABLE audit_log (id bigint);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit_log VALUES (NEW.id); RETURN NEW; END';
    CREATE TRIGGER audit AFTER UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE audit()`);
  const reader = await connect(url);
  await reader.query('BEGIN; SELECT FROM user_profiles');
  const made = migrate(url, 'up', filling);
  const waiting =
    "SELECT FROM pg_locks WHERE relation = 'user_profiles'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted";
  while ((await client.query(waiting)).rowCount === 0);
  await client.query('UPDATE user_profiles SET phone = NULL WHERE id = 9');
  await reader.query('COMMIT');
  await made;
  await reader.end();
  const { rowCount } = await client.query("SELECT FROM user_profiles WHERE id = 9 AND phone = 'none'");
  expect(rowCount).toBe(1);
});

from11(
  'one that moves while they are filled, as others write it: it is filled before the lock, too',
  async () => {
    const { client, url } = here();
    await loadProfiles(client, people);
    await client.query(`CREATE SEQUENCE moves;
    CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF nextval('moves') = 1 THEN UPDATE user_profiles SET role = role
        WHERE id = (SELECT max(id) FROM user_profiles WHERE phone IS NULL); END IF; RETURN NULL; END $$;
    CREATE TRIGGER move AFTER UPDATE ON user_profiles FOR EACH STATEMENT EXECUTE PROCEDURE move()`);
    const said = (await migrate(url, 'up', filling)).join('\n');
    expect(said).toContain('rows at a time');
    expect(said).not.toMatch(/phone IS NULL \(\d+ rows\)/);
  },
);

test('a trigger that empties them again: it ends, and refuses', async () => {
  const { client, url } = here();
  await loadProfiles(client, people);
  await client.query(`
    CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.phone := NULL; RETURN NEW; END';
    CREATE TRIGGER forget BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE forget()`);
  await expect(migrate(url, 'up', filling)).rejects.toThrow(
    /^user_profiles is left as it was: a value stands in the way\n[\s\S]*ALTER COLUMN phone SET NOT NULL$/,
  );
});

/** A trigger that says how many rows a statement writes. */
const counts = `CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE INFO 'wrote %', (SELECT count(*) FROM new); RETURN NULL; END $$;
  CREATE TRIGGER counts AFTER UPDATE ON user_profiles REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE PROCEDURE counts()`;
const written = (said: readonly string[]) =>
  said.flatMap((line) => /^wrote (\d+)/.exec(line)?.[1] ?? []).map(Number);

from11('many that come as fast as they are filled are not filled behind the lock: refused', async () => {
  const { client } = here();
  await loadProfiles(client, 3 * people);
  await client.query(`${counts}; CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.phone := NULL; RETURN NEW; END';
    CREATE TRIGGER forget BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE PROCEDURE forget()`);
  const said: string[] = [];
  client.on('notice', ({ message = '' }) => said.push(message));
  const refused = client.query(filling.script('up', { up: 'up.sql', down: 'down.sql' }));
  await expect(refused).rejects.toMatchObject({
    message: 'user_profiles is left as it was: a value stands in the way',
    hint: expect.stringMatching(/^NULLs are written meanwhile, or a trigger keeps them: find out by what\. /),
  });
  expect(Math.max(...written(said))).toBeLessThanOrEqual(2000);
});

from11('a batch has no more rows where there are many partitions', async () => {
  const { client, url } = here();
  await client.query(`CREATE TABLE user_profiles (id int, phone text) PARTITION BY HASH (id); ${counts}`);
  for (let part = 0; part < 16; part++)
    await client.query(
      `CREATE TABLE part_${part} PARTITION OF user_profiles FOR VALUES WITH (MODULUS 16, REMAINDER ${part})`,
    );
  await client.query(`INSERT INTO user_profiles SELECT n FROM generate_series(1, ${2 * people}) n`);
  const rows = written(await migrate(url, 'up', filling));
  // Rows of several partitions may stand in the same place: they go together.
  expect(Math.max(...rows)).toBeLessThan(2050);
  expect(rows.length).toBeGreaterThan(5);
});

test('what fills them is what pg_catalog means, however late it is on the search_path', async () => {
  const { client } = here();
  await loadProfiles(client, people);
  await client.query(`CREATE SCHEMA evil;
    CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil'::text $$;
    SET search_path = evil, public, pg_catalog`);
  const lower = tableChange({
    id: '18',
    table: 'user_profiles',
    add: { phone: { type: 'varchar(20)', notNull: true, default: "lower('NONE'::text)" } },
  });
  await client.query(lower.script('up', { up: 'up.sql', down: 'down.sql' }));
  const { rows } = await client.query("SELECT count(*)::int AS evil FROM user_profiles WHERE phone = 'evil'");
  expect(rows).toEqual([{ evil: 0 }]);
});

test('what a deferred trigger refuses in a batch is told, and not met once more behind the lock', async () => {
  const { client, url } = here();
  await loadProfiles(client, people);
  await client.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'read-only'; END $$;
    CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON user_profiles DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE PROCEDURE refuse()`);
  const filled = serverVersion < 11 ? '' : ', but for NULLs that are filled';
  await expect(migrate(url, 'up', filling)).rejects.toThrow(
    new RegExp(
      `^user_profiles is left as it was${filled}: read-only\\n[^]*UPDATE public.user_profiles SET phone = coalesce`,
    ),
  );
});

test('a value that a CHECK refuses in a batch is not shown', async () => {
  const { client, url } = here();
  await loadProfiles(client, people);
  await client.query("ALTER TABLE user_profiles ADD CHECK (phone <> 'none')");
  const refused = migrate(url, 'up', filling);
  await expect(refused).rejects.toThrow('a value stands in the way');
  await expect(refused).rejects.not.toThrow(/Failing row|violates/);
});

from11('where the rows cannot be listed it ends, and says why', async () => {
  const { client, admin, name, url } = here();
  await loadProfiles(client, people);
  await admin.query(
    `ALTER DATABASE ${name} SET temp_file_limit = 0; ALTER DATABASE ${name} SET work_mem = '64kB'`,
  );
  const session = await connect(url);
  const script = filling.script('up', { up: 'up.sql', down: 'down.sql' });
  await expect(session.query(script)).rejects.toThrow('temporary file size exceeds');
  await session.end();
});
