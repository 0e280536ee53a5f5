import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { script, up } from '../../migrations/0016_add_security_fields';
import { freshDatabase, loadState, type State, type TestDatabase } from '../support/database';
import { knexFor } from '../support/knex';
import { startTestServer, type TestServer, testCluster } from '../support/server';

// Citus is in no package registry that a test could install it from: what it needs is pinned in the text, and
// an extension of its name shows that none of it matters to a plain server.

describe.each(['up', 'down'] as const)('what Citus needs: %s', (direction) => {
  const text = script(direction, { up: 'up.sql', down: 'down.sql' });
  // However the lines are broken.
  const statements = text.replace(/--.*/g, '').replace(/''/g, "'").replace(/\s+/g, ' ');

  test('settings reach the workers: SET LOCAL, once propagation is on', () => {
    const [propagation = 0, first = 0] = [
      statements.indexOf("SET LOCAL citus.propagate_set_commands = 'local'"),
      statements.indexOf('SET LOCAL lock_timeout'),
    ];
    expect(propagation).toBeGreaterThan(0);
    expect(propagation).toBeLessThan(first);
    expect(statements).not.toMatch(/set_config\('lock_timeout'/);
  });

  test('SET CONSTRAINTS travels in one string with a SET LOCAL', () => {
    expect(statements.match(/'SET LOCAL lock_timeout = %L; SET CONSTRAINTS ALL IMMEDIATE'/g)).toHaveLength(1);
    // The other one is where NULLs are filled before the lock, which they never are there.
    expect(statements.match(/SET CONSTRAINTS ALL IMMEDIATE/g)).toHaveLength(2);
  });

  test('its words for a refused lock mean another try, and of the other internal errors only a GRANT at the same moment', () => {
    const filter = /IF SQLSTATE = 'XX000' AND SQLERRM !~ '\^\((.*?)\)' THEN RAISE; END IF; failure := /g;
    expect([...statements.matchAll(filter)].map(([, words]) => words)).toEqual([
      'tuple concurrently|failure on connection marked as essential',
    ]);
    // Neither is turned into something else on the way there.
    expect(
      statements.match(/WHEN lock_not_available OR deadlock_detected OR internal_error THEN/g),
    ).toHaveLength(2);
  });

  test('what is left of the budget is set before each step, the locks among them', () => {
    expect(statements).toContain(
      "EXECUTE format('SET LOCAL lock_timeout = %L', greatest(1, ceil(1000 * extract(epoch FROM budget_left)))); " +
        "asked := clock_timestamp(); BEGIN PERFORM set_config('search_path', path, true); EXECUTE doing;",
    );
    expect(statements).toContain("ARRAY[format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE',");
  });

  test('an archive is joined through a subquery', () => {
    const joined = [
      ...statements.matchAll(/UPDATE %(?:1\$)?s t SET [^']*?(?:'\s*')?[^']*? FROM (.{16})/g),
    ].map(([, from]) => from);
    expect(joined).toHaveLength(direction === 'up' ? 1 : 2);
    for (const from of joined) expect(from).toMatch(/^\(SELECT \* FROM %/);
  });

  test('a NOT NULL column is added with a default, which goes afterwards, and never filled by an UPDATE', () => {
    expect(statements).toMatch(/'ADD COLUMN %I %s%s%s%s', [^;]*? ' DEFAULT ' \|\| fill, /);
    if (direction === 'down')
      expect(statements).toMatch(/WHEN fill IS DISTINCT FROM wanted\.value THEN [^;]*'DROP DEFAULT'/);
  });

  test('no write is tried, and no NULLs are filled before the lock', () => {
    expect(statements).toMatch(
      / AND NOT \(dry OR on_citus OR texts_decide\) THEN (?:[^;]*; ){8}EXECUTE probe;/,
    );
    expect(statements).toMatch(
      /IF fills <> '\{\}' [^;]* AND NOT on_citus AND (?:[^;]*; ){1,6}?[^;]*INTO batches;/,
    );
  });

  test('shards one by one', () => {
    expect(statements).toContain("SET LOCAL citus.multi_shard_modify_mode = 'sequential'");
  });
});

describe('an extension named citus', () => {
  let folder: string;
  let server: TestServer;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'citus-'));
    const { native } = testCluster();
    cpSync(join(native, '..'), folder, { recursive: true, verbatimSymlinks: true });
    const extension = join(folder, 'native/share/postgresql/extension/citus');
    writeFileSync(`${extension}.control`, "default_version = '1.0'\n", { mode: 0o644 });
    writeFileSync(`${extension}--1.0.sql`, '', { mode: 0o644 });
    server = await startTestServer(testCluster({}, join(folder, 'native')));
  });
  afterAll(async () => {
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  let database: TestDatabase;
  let lines: string[];
  beforeEach(async () => {
    database = await freshDatabase(server.url);
    lines = [];
    jest.spyOn(console, 'error').mockReturnValue();
    jest.spyOn(console, 'log').mockImplementation((line) => void lines.push(line));
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await database.close();
  });

  /** There and back; what was said and what there is. */
  async function history(on: TestDatabase): Promise<unknown> {
    const knex = await knexFor(on.url);
    const shapes = [];
    lines = [];
    for (const way of ['latest', 'down', 'latest'] as const) {
      await knex.migrate[way]();
      shapes.push((await on.admin.query(shape)).rows);
    }
    await knex.destroy();
    return {
      lines: lines.map((line) => line.replaceAll(on.owner, 'owner').replace(/table \d+/, 'table')),
      shapes,
    };
  }

  test.each<State>(['0015', 'both-names', 'repaired-by-hand'])('changes nothing: %s', async (state) => {
    await database.admin.query('CREATE EXTENSION citus');
    await loadState(database.client, state);
    const plain = await freshDatabase(server.url);
    await loadState(plain.client, state);
    const history1 = await history(database);
    expect(JSON.stringify(history1).length).toBeGreaterThan(2_000);
    expect(history1).toEqual(await history(plain));
    await plain.close();
  });

  test('leaves the transaction of a batch without settings', async () => {
    await database.admin.query('CREATE EXTENSION citus');
    await loadState(database.client, '0015');
    const knex = await knexFor(database.url);
    await knex.transaction(async (trx) => {
      await trx.raw('LOCK TABLE user_profiles IN ACCESS SHARE MODE');
      await trx.raw("SET LOCAL lock_timeout = '7s'");
      await up(trx);
      const { rows } = await trx.raw(
        `SELECT current_setting('lock_timeout') AS lock, current_setting('citus.propagate_set_commands') AS propagate,
                current_setting('citus.multi_shard_modify_mode') AS mode`,
      );
      expect(rows).toEqual([{ lock: '7s', propagate: '', mode: '' }]);
    });
    await knex.destroy();
    expect(lines[0]).toContain('holds the table');
  });

  // Raised by a trigger of the server, at the first statement of ours that changes a table.
  async function failOnce(message: string): Promise<void> {
    await database.admin.query(`
      CREATE SEQUENCE failures;
      GRANT USAGE ON SEQUENCE failures TO PUBLIC;
      CREATE FUNCTION fail_once() RETURNS event_trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF current_query() ~ 'program' AND nextval('public.failures') = 1 THEN
          RAISE EXCEPTION '${message}' USING ERRCODE = 'internal_error';
        END IF;
      END $$;
      CREATE EVENT TRIGGER fail_once ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE PROCEDURE fail_once()`);
  }

  test('a lock that a worker refuses to a step is waited for', async () => {
    await loadState(database.client, '0015');
    await failOnce('failure on connection marked as essential: worker:5432');
    const knex = await knexFor(database.url);
    await knex.migrate.latest();
    await knex.destroy();
    expect(lines.filter((line) => / Try 1; the next one in/.test(line))).toEqual([
      expect.stringMatching(
        /^user_profiles is left as it was: failure on connection marked as essential: .*CREATE TABLE public\.user_profiles_0016_before/,
      ),
    ]);
  });

  test('another internal error ends it', async () => {
    await loadState(database.client, '0015');
    await failOnce('cache lookup failed');
    const knex = await knexFor(database.url);
    await expect(knex.migrate.latest()).rejects.toThrow(/^cache lookup failed/);
    await knex.destroy();
    expect(lines.filter((line) => line.includes('Try 1'))).toEqual([]);
  });
});

const shape = `
  SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, pg_get_expr(d.adbin, d.adrelid) AS "default"
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  WHERE c.relname LIKE 'user_profiles%' AND c.relkind = 'r' ORDER BY 1, 2`;
