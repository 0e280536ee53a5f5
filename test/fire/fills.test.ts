import { setTimeout as sleep } from 'node:timers/promises';
import { schemaOf } from '../support/catalog';
import { freshDatabase, type TestDatabase } from '../support/database';
import { beginKnex, knexCommand, type Running } from '../support/knex';
import { beginPsql, psqlScript, testWithPsql } from '../support/psql';
import { loadProfiles, shapeOf } from './profiles';

// NULLs of a large table are filled before the lock, in many transactions.

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
  await loadProfiles(database.client, 40_000);
  // Each of them takes a while, so that there is time to end it in the midst.
  await database.client.query(`
    ALTER TABLE user_profiles ALTER email_verified DROP NOT NULL;
    UPDATE user_profiles SET email_verified = NULL WHERE id % 2 = 0;
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
    CREATE TRIGGER wait AFTER UPDATE ON user_profiles EXECUTE PROCEDURE wait()`);
});
afterEach(() => database.close());

const nulls = async (): Promise<number> =>
  (await database.client.query('SELECT count(*)::int AS n FROM user_profiles WHERE email_verified IS NULL'))
    .rows[0].n;
/** What nobody asked to be changed, under whichever name it has. */
const values = async () => {
  const { rows } = await database.client.query(
    `SELECT md5(string_agg(concat_ws(',', id, coalesce(to_jsonb(p) -> 'backup_codes', to_jsonb(p) -> 'mfa_backup_codes'),
                                     coalesce(email_verified, false), email_verification_token), ';' ORDER BY id))
     FROM user_profiles p`,
  );
  return rows[0];
};

const routes = [
  [
    'migrate:latest',
    test,
    () => beginKnex(['migrate:latest'], { DATABASE_URL: database.url }),
    () => knexCommand(['migrate:latest'], { DATABASE_URL: database.url }),
  ],
  [
    'add_security_fields.sql',
    testWithPsql,
    () => beginPsql('add_security_fields', database.url),
    () => psqlScript('add_security_fields', database.url),
  ],
] as const;

const atWork = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DO $program$%' AND state = 'active'`;

describe.each(routes)('%s', (_name, testWith, begin: () => Running, again) => {
  testWith.each(['process', 'session'])(
    'its %s is ended: NULLs are filled, and nothing else is half done',
    async (what) => {
      const { client, admin } = database;
      const before = { schema: await schemaOf(client), values: await values() };
      const all = await nulls();
      const { child, outcome } = begin();
      while ((await nulls()) === all && child.exitCode === null) await sleep(5);
      if (what === 'process') child.kill('SIGKILL');
      else await admin.query(`SELECT pg_terminate_backend(pid) FROM (${atWork}) own`);
      expect((await outcome).code).not.toBe(0);
      // The server finds out that nobody listens when it has something to say, and may be done by then.
      while ((await admin.query(atWork)).rows.length > 0) await sleep(20);
      expect(await nulls()).toBeLessThan(all);
      expect(await values()).toEqual(before.values);
      const isMade = (await client.query("SELECT to_regclass('user_profiles_0016_before') AS it")).rows[0].it;
      if (isMade && what === 'process') expect(await shapeOf(client)).toBe('after');
      else expect(await schemaOf(client)).toEqual(before.schema);
      expect(await again()).toMatchObject({ code: 0 });
      expect(await shapeOf(client)).toBe('after');
      expect(await nulls()).toBe(0);
      expect(await values()).toEqual(before.values);
    },
  );
});
