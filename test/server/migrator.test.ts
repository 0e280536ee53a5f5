import { randomBytes } from 'node:crypto';
import { UserError } from '../../src/user-error';
import { connect, databasePerTest, urlWith } from '../support/database';
import { knexFor } from '../support/knex';

const database = databasePerTest('0015');
const migration = '0016_add_security_fields';

beforeAll(() => {
  process.env['MIGRATION_QUIET'] = '1';
});

/** Runs something of Knex's migrator, and gives its error's message, which has to be one for the user; '' where it went well. */
async function migrate(
  what: 'latest' | 'down' | 'rollback' | 'list' | 'forceFreeMigrationsLock',
  { url = database().url, env = {} } = {},
): Promise<string> {
  const instance = await knexFor(url, {}, env);
  const said = await instance.migrate[what]().then(
    () => '',
    (error: Error) => {
      expect(error).toBeInstanceOf(UserError);
      return error.message;
    },
  );
  await instance.destroy();
  return said;
}

/** The statements that a message ends with. */
const statementsOf = (message: string) => message.slice(message.search(/^(GRANT|ALTER|UPDATE) /m));

const names = async () => {
  const { rows } = await database().client.query('SELECT name FROM knex_migrations ORDER BY id');
  return rows.map(({ name }) => name);
};

describe('rights', () => {
  let members: readonly { role: string; url: string }[];

  beforeEach(async () => {
    const { admin, owner, url } = database();
    members = ['first', 'second'].map((word) => {
      const role = `${word}_${randomBytes(3).toString('hex')}`;
      return { role, url: urlWith(url, { username: role, password: role }) };
    });
    for (const { role } of members)
      await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'; GRANT ${owner} TO ${role}`);
  });

  afterEach(async () => {
    const { admin, owner } = database();
    for (const { role } of members)
      await admin.query(`REASSIGN OWNED BY ${role} TO ${owner}; DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });

  const [first, second] = [() => members[0] ?? fail(), () => members[1] ?? fail()];
  const fail = () => {
    throw new Error('no members');
  };

  test('what one member of the owner begins another one goes on with', async () => {
    expect(await migrate('latest', first())).toBe('');
    const { rows } = await database().client.query(
      `SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'knex%'`,
    );
    expect(rows).toEqual([{ tableowner: database().owner }]);
    expect(await migrate('down', second())).toBe('');
    expect(await migrate('latest', { url: database().url })).toBe('');
  });

  test('a superuser leaves them to the owner, too', async () => {
    expect(await migrate('list', { url: database().adminUrl })).toBe('');
    expect(await migrate('latest')).toBe('');
  });

  test("tables that are a member's own already", async () => {
    const client = await connect(first().url);
    await client.query(
      'CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar, batch int, migration_time timestamptz)',
    );
    await client.query('CREATE TABLE knex_migrations_lock (index serial PRIMARY KEY, is_locked int)');
    // Also where they can be read.
    await client.query('GRANT SELECT ON knex_migrations, knex_migrations_lock TO PUBLIC');
    const said = await migrate('latest', second());
    expect(said).toMatch(
      /^permission denied for (table|relation) knex_migrations_lock.\nKnex's tables belong to "first_/,
    );
    await client.query(statementsOf(said));
    await client.end();
    expect(await migrate('latest', second())).toBe('');
  });

  test('an owner without CREATE on the schema', async () => {
    const { admin, owner, name } = database();
    await admin.query(
      `ALTER SCHEMA public OWNER TO postgres; REVOKE ALL ON SCHEMA public FROM ${owner}, PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC`,
    );
    await admin.query(`ALTER DATABASE ${name} OWNER TO postgres`);
    for (const { url } of [database(), first()]) {
      const said = await migrate('latest', { url });
      expect(said).toBe(
        `permission denied for schema public.\nAs "postgres", who owns the schema, or as a superuser:\nGRANT CREATE ON SCHEMA "public" TO "${owner}";`,
      );
    }
    await admin.query(statementsOf(await migrate('latest')));
    expect(await migrate('latest', first())).toBe('');
  });

  test('a schema that may not be used', async () => {
    const { admin, owner } = database();
    await admin.query('CREATE SCHEMA theirs');
    const env = { DB_SCHEMA: 'theirs' };
    const said = await migrate('list', { env });
    expect(said).toMatch(`"${owner}" may not use this schema. Check DB_SCHEMA, or:`);
    await admin.query(statementsOf(said));
    expect(await migrate('list', { env })).toMatch(/^permission denied for schema theirs.\n/);
  });

  test('within a transaction, where nothing more can be asked', async () => {
    await database().admin.query('CREATE TABLE theirs ()');
    const instance = await knexFor(database().url);
    await expect(instance.transaction((trx) => trx.raw('TABLE theirs'))).rejects.toThrow(
      /^permission denied for (table|relation) theirs.\nConnect as the role that owns/,
    );
    await instance.destroy();
  });

  test('a stranger', async () => {
    const { admin, owner } = database();
    await admin.query(`REVOKE ${owner} FROM ${first().role}; REVOKE CREATE ON SCHEMA public FROM PUBLIC`);
    expect(await migrate('latest', first())).toMatch(
      /^permission denied for schema public.\nConnect as the role that owns/,
    );
  });
});

describe("Knex's lock", () => {
  const locked = (rows = 1) =>
    database().client.query(
      `DELETE FROM knex_migrations_lock; INSERT INTO knex_migrations_lock (is_locked) SELECT ${rows > 1 ? 0 : 1} FROM generate_series(1, ${rows})`,
    );

  test.each(['latest', 'down', 'rollback'] as const)('left by one that was killed: %s', async (command) => {
    await migrate('list');
    await locked();
    expect(await migrate(command)).toMatch(
      /^Knex's lock is set: .*killed.*\nNobody of this project is connected now. .*npx knex migrate:unlock/,
    );
    const { rows } = await database().client.query('SELECT is_locked FROM knex_migrations_lock');
    expect(rows).toEqual([{ is_locked: 1 }]);
    expect(await migrate('list')).toBe('');
    expect(await migrate('forceFreeMigrationsLock')).toBe('');
    expect(await migrate(command)).toBe('');
  });

  test('held by one that is at work', async () => {
    await migrate('list');
    await locked();
    const other = await knexFor(database().url);
    const { rows } = await other.raw('SELECT pg_backend_pid() AS pid');
    expect(await migrate('latest')).toMatch(
      `\nConnected now: pid ${rows[0].pid} of ${database().owner} (idle). Where no migration is at work: npx knex migrate:unlock`,
    );
    await other.destroy();
  });

  test('two rows', async () => {
    await migrate('list');
    await locked(2);
    for (const command of ['latest', 'down'] as const)
      expect(await migrate(command)).toMatch(
        /^"knex_migrations_lock" has 2 rows, .*npx knex migrate:unlock leaves one/,
      );
    expect(await migrate('forceFreeMigrationsLock')).toBe('');
    expect(await migrate('latest')).toBe('');
  });
});

describe("Knex's record", () => {
  beforeEach(() => migrate('list'));
  const record = (name: string) =>
    database().client.query(
      'INSERT INTO knex_migrations (name, batch, migration_time) VALUES ($1, 1, now())',
      [name],
    );

  test.each(['js', 'ts'])('with the name of a file: .%s', async (extension) => {
    await record(`${migration}.${extension}`);
    for (const command of ['latest', 'down', 'list'] as const) {
      const said = await migrate(command);
      expect(said).toMatch(`"knex_migrations" has the names of files: ${migration}.${extension}. `);
    }
    await database().client.query(statementsOf(await migrate('latest')));
    expect(await names()).toEqual([migration]);
    expect(await migrate('list')).toBe('');
  });

  test('of another project', async () => {
    await record('0001_orders.js');
    await record('0016_create_orders.js');
    const said = await migrate('latest');
    expect(said).toMatch(
      /^"knex_migrations" records migrations that are not in migrations\/: 0001_orders.js, 0016_create_orders.js. Where/,
    );
    const [, setting = '', value = ''] = /(MIGRATIONS_TABLE)=(\w+)/.exec(said) ?? [];
    expect(await migrate('latest', { env: { [setting]: value } })).toBe('');
    expect(await migrate('down', { env: { [setting]: value } })).toBe('');
    expect(await names()).toEqual(['0001_orders.js', '0016_create_orders.js']);
  });
});
