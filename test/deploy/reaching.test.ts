import { writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { connectionFrom, type Environment } from '../../src/database/connection';
import { knexCommand, run } from '../support/knex';
import { password, reachedServer, reaches, works } from './reached-server';

const here = reachedServer();

test('a password from ~/.pgpass, without a word on stderr', async () => {
  const { hostname, port } = new URL(here().database.url);
  writeFileSync(
    join(here().folder, '.pgpass'),
    `${hostname}:${port}:*:visitor:${password.replace(/[:\\]/g, '\\$&')}\n`,
    { mode: 0o600 },
  );
  const env = {
    PGHOST: hostname,
    PGPORT: port,
    PGDATABASE: here().database.name,
    PGUSER: 'visitor',
    PGSSLMODE: 'require',
  };
  await reaches({ ...env, HOME: here().folder });
  await reaches({ ...env, PGPASSFILE: join(here().folder, '.pgpass') });
  const { stderr } = await knexCommand(['migrate:list'], env);
  expect(stderr).toMatch(/it wants a password.\nGive PGPASSWORD, or a line in ~\/.pgpass.\n$/);
});

describe('as psql understands it', () => {
  const port = () => new URL(here().database.url).port;
  const socket = () => encodeURIComponent(here().folder);
  const PGPASSWORD = 'a+b %';

  test.each<[string, () => string, Environment]>([
    ['a plus', () => `visitor@127.0.0.1:${port()}/?dbname=${here().database.name}&password=a+b%20%25`, {}],
    ['a database by variable', () => `visitor@127.0.0.1:${port()}`, { PGDATABASE: 'template1', PGPASSWORD }],
    [
      'the database of the user',
      () => `visitor@127.0.0.1:${port()}/?options=-c%20search_path%3Da,b`,
      { PGPASSWORD },
    ],
    ['a slash', () => `visitor@127.0.0.1:${port()}/a/b`, { PGPASSWORD, PGOPTIONS: '-c search_path=x' }],
    ['whoever runs it', () => `/?host=${socket()}&port=${port()}`, { PGPASSWORD: userInfo().username }],
    ['a socket as host', () => `visitor:a+b%20%25@${socket()}:${port()}/template1`, {}],
    ['said twice', () => `nobody@h:1/?user=visitor&host=localhost&port=${port()}`, { PGPASSWORD }],
  ])('%s', async (_, url, env) => {
    const { admin } = here().database;
    await admin.query(`ALTER ROLE visitor PASSWORD '${PGPASSWORD}'`);
    const statement = `SELECT format('%s %s %s', current_user, current_database(), current_setting('search_path')) AS where`;
    const { stdout, stderr } = await run('psql', [`postgres://${url()}`, '-XAtc', statement], {
      PGSSLMODE: 'require',
      ...env,
    });
    const client = new Client({
      ...connectionFrom({ DATABASE_URL: `postgres://${url()}`, PGSSLMODE: 'require', ...env }),
    });
    await client.connect();
    const { rows } = await client.query(statement);
    await client.end();
    expect({ stdout, stderr }).toEqual({ stdout: `${rows[0].where}\n`, stderr: '' });
  });
});

test("the application's .env", async () => {
  const { hostname, port } = new URL(here().database.url);
  const file = join(here().folder, 'application.env');
  await here().database.admin.query(`ALTER ROLE visitor PASSWORD 's3cret#2024'`);
  const lines = [
    `DB_NAME = ${here().database.name}`,
    `DB_HOST='${hostname}'`,
    `DB_PORT="${port}"`,
    'DB_USER=visitor',
    'DB_PASSWORD=s3cret#2024',
  ];
  writeFileSync(file, lines.join('\n'));
  await reaches({ DOTENV_CONFIG_PATH: file, PGSSLMODE: 'require' });
  await here().database.admin.query(`ALTER ROLE visitor PASSWORD 'another'`);
  const { stderr } = await knexCommand(['migrate:list'], { DOTENV_CONFIG_PATH: file, PGSSLMODE: 'require' });
  expect(stderr).toMatch(/password authentication failed .*\nCheck DB_PASSWORD/);
});

test('a Unix socket, by URL and by names', async () => {
  const { port } = new URL(here().database.url);
  const user = `user=visitor&password=${encodeURIComponent(password)}`;
  await works({
    DATABASE_URL: `postgres:///${here().database.name}?host=${encodeURIComponent(here().folder)}&port=${port}&${user}`,
  });
  await works({
    DB_HOST: here().folder,
    DB_PORT: port,
    DB_NAME: here().database.name,
    DB_USER: 'visitor',
    DB_PASSWORD: password,
  });
});

test("a password with everything in it, by names of the application and by libpq's", async () => {
  const { hostname, port } = new URL(here().database.url);
  const tls = { DB_SSLMODE: 'require' };
  await reaches({
    ...tls,
    DB_HOST: hostname,
    DB_PORT: port,
    DB_NAME: here().database.name,
    DB_USER: 'visitor',
    DB_PASSWORD: password,
  });
  await reaches({
    ...tls,
    PGHOST: hostname,
    PGPORT: port,
    PGDATABASE: here().database.name,
    PGUSER: 'visitor',
    PGPASSWORD: password,
  });
});

test('a role with one connection', async () => {
  await here().database.admin.query('ALTER ROLE visitor CONNECTION LIMIT 1');
  const { stdout } = await works({ DATABASE_URL: here().visitor, DB_SSLMODE: 'require' });
  expect(stdout).toMatch(
    /The change is made on Knex's own connection, as there is no second one: .*too many connections for role "visitor"/,
  );
});
