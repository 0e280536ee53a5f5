import { rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { Client } from 'pg';
import { connectionFrom, type Environment } from '../../src/database/connection';
import { UserError } from '../../src/user-error';

/** What node-postgres makes of an environment, without connecting. */
function understood(env: Environment) {
  const settings = connectionFrom(env);
  const client = new Client({ ...settings });
  const { host, port, database, user, password, ssl } = client;
  return { host, port, database, user, password, ssl, settings };
}

describe('where the database is', () => {
  test('nothing is configured', () => {
    expect(connectionFrom({})).toBeUndefined();
  });

  test.each([
    [{ DATABASE_URL: '' }, 'DATABASE_URL is empty, and it is not clear which database is meant'],
    [{ DB_HOST: '', DB_NAME: '' }, 'DB_HOST is empty'],
    [{ PGDATABASE: '' }, 'PGDATABASE is empty'],
    [{ DB_USER: 'u' }, 'DB_USER is set'],
    [{ DB_PASSWORD: 'secret' }, 'DB_PASSWORD is set'],
    [{ PGPORT: '5433' }, 'PGPORT is set'],
    [{ PGUSER: 'u' }, 'PGUSER is set'],
    [{ PGSSLMODE: 'require' }, 'PGSSLMODE is set'],
    [{ DB_SSLMODE: 'require' }, 'DB_SSLMODE is set'],
    [{ DB_ENGINE: 'django.db.backends.postgresql' }, 'DB_ENGINE is set'],
  ])('half of it is an error: %p', (env, message) => {
    expect(() => connectionFrom(env)).toThrow(message);
    expect(() => connectionFrom(env)).toThrow(
      'it is not clear which database is meant: DATABASE_URL, DB_HOST and',
    );
  });

  test.each([
    ['DATABASE_ULR', 'DATABASE_URL'],
    ['DATABSE_URL', 'DATABASE_URL'],
    ['database_url', 'DATABASE_URL'],
    ['PG_HOST', 'PGHOST'],
    ['DB_HSOT', 'DB_HOST'],
    ['DB_SCHMEA', 'DB_SCHEMA'],
    ['PGHOSTS', 'PGHOST'],
    ['DB_NAM', 'DB_NAME'],
    ['PGSSLMOD', 'PGSSLMODE'],
    ['MIGRATION_TABLE', 'MIGRATIONS_TABLE'],
    ['MIGRATIONS_LOCK_DEADLINE', 'MIGRATION_LOCK_DEADLINE'],
  ])('a slip is an error, whatever else is configured: %s', (slip, setting) => {
    const message = `${slip} is set, and ${setting} is not. Is it a slip?`;
    expect(() => connectionFrom({ [slip]: 'x' })).toThrow(message);
    expect(() => connectionFrom({ PGDATABASE: 'other', [slip]: 'x' })).toThrow(message);
    expect(
      connectionFrom({
        PGHOST: 'h',
        [setting]: setting === 'PGSSLMODE' ? 'require' : 'postgres://h/d',
        [slip]: 'x',
      }),
    ).toBeDefined();
  });

  test('names that are near to ours, and are meant', () => {
    expect(connectionFrom({ PGDATA: '/data', PGTZ: 'UTC', DB_SCHEMA: 's', PGAPPNAME: 'me' })).toBeUndefined();
  });

  test.each<[Environment, string]>([
    [{ DB_HOST: 'h', DB_PORT: 'abc' }, 'DB_PORT is "abc". It is a number from 1 to 65535.'],
    [{ DB_HOST: 'h', DB_PORT: '70000' }, 'DB_PORT is "70000".'],
    [{ PGHOST: 'h', PGPORT: '0' }, 'PGPORT is "0".'],
    [{ DATABASE_URL: 'postgres://h/d?port=x' }, 'port in DATABASE_URL is "x".'],
    [{ DATABASE_URL: 'postgres://h/d?connect_timeout=0' }, 'connect_timeout in DATABASE_URL is "0".'],
    [{ DB_HOST: 'h', PGCONNECT_TIMEOUT: 'soon' }, 'PGCONNECT_TIMEOUT is "soon".'],
  ])('a number is one: %j', (env, message) => {
    expect(() => connectionFrom(env)).toThrow(message);
  });

  test('the URL goes before the DB_ names, and these before the PG names', () => {
    const names = { DB_HOST: 'named', DB_NAME: 'n', PGHOST: 'libpq' };
    expect(understood({ ...names, DATABASE_URL: 'postgres://url/u' })).toMatchObject({
      host: 'url',
      database: 'u',
    });
    expect(understood(names)).toMatchObject({ host: 'named', database: 'n', port: 5432 });
  });

  test("libpq's names", () => {
    const env = { PGHOST: 'libpq', PGPORT: '6543', PGDATABASE: 'd', PGUSER: 'u', PGPASSWORD: 'p' };
    const libpq = { host: 'libpq', port: 6543, database: 'd', user: 'u', password: 'p' };
    expect(understood(env)).toMatchObject(libpq);
    expect(understood({ ...env, DB_NAME: 'mine' })).toMatchObject({ ...libpq, database: 'mine' });
    expect(understood({ ...env, DATABASE_URL: 'postgres://me@/?options=-c%20a%3D1+2' })).toMatchObject({
      ...libpq,
      user: 'me',
      settings: { options: '-c a=1+2' },
    });
  });

  test("without a host: libpq's socket, where there is one", () => {
    const [DB_PORT, socket] = ['64999', '/tmp/.s.PGSQL.64999'];
    expect(connectionFrom({ DB_NAME: 'd', DB_PORT })?.host).toBe('localhost');
    writeFileSync(socket, '');
    expect(connectionFrom({ DB_NAME: 'd', DB_PORT })?.host).toBe('/tmp');
    rmSync(socket);
  });

  test('the user has the name of who runs it, and the database that of the user', () => {
    const own = userInfo().username;
    expect(connectionFrom({ PGHOST: 'h' })).toMatchObject({ user: own, database: own });
    expect(understood({ DATABASE_URL: 'postgres://u@h' })).toMatchObject({ user: 'u', database: 'u' });
  });

  const password = "p@ss/w:rd?#%ä€'\\ +&";

  test('any password will do', () => {
    const named = { DB_HOST: 'h', DB_PORT: '6000', DB_NAME: 'größe', DB_USER: 'ä@b', DB_PASSWORD: password };
    expect(understood(named)).toMatchObject({
      host: 'h',
      port: 6000,
      database: 'größe',
      user: 'ä@b',
      password,
    });
    const url = `postgresql://%C3%A4%40b:${encodeURIComponent(password)}@h:6000/gr%C3%B6%C3%9Fe`;
    expect(understood({ DATABASE_URL: url })).toMatchObject({
      host: 'h',
      port: 6000,
      database: 'größe',
      user: 'ä@b',
      password,
    });
  });

  test.each([
    'postgres:///d?host=/run/postgresql&user=u',
    'postgres://u@/d?host=/run/postgresql',
    'postgres://u@%2Frun%2Fpostgresql/d',
  ])('a Unix socket by URL: %s', (DATABASE_URL) => {
    const socket = { host: '/run/postgresql', database: 'd', user: 'u', ssl: false };
    expect(understood({ DATABASE_URL, DB_SSLMODE: 'require' })).toMatchObject(socket);
  });

  test('a Unix socket by names', () => {
    expect(understood({ DB_HOST: '/run/postgresql', DB_NAME: 'd', DB_SSLMODE: 'require' })).toMatchObject({
      host: '/run/postgresql',
      ssl: false,
    });
  });

  test('an IPv6 address', () => {
    expect(understood({ DATABASE_URL: 'postgres://[::1]:6000/d' })).toMatchObject({
      host: '::1',
      port: 6000,
    });
  });

  test.each([
    'postgres://u:secret@h:port/d',
    'postgres://u:sec/ret@h/d',
    'postgres://u:1#secret@h/d',
    'mysql://u:secret@h/d',
    'u:secret@h/d',
    'postgres://u:5secret',
    'postgres://u:5/secret@h/d',
    'postgres://u:5?secret@h/d',
    'postgres://u:5?ssl=secret@h/d',
    'postgres://u:%secret@h/d',
    'secret',
  ])('malformed, and not shown: %s', (DATABASE_URL) => {
    const attempt = () => connectionFrom({ DATABASE_URL });
    expect(attempt).toThrow(UserError);
    expect(attempt).toThrow(/^DATABASE_URL is malformed(?![\s\S]*secret)/);
  });
});

describe('the rest', () => {
  test('says who it is, unless the user does', () => {
    const name = (env: Environment) => {
      const { application_name, fallback_application_name } = connectionFrom(env) ?? {};
      return application_name || fallback_application_name;
    };
    expect(name({ DB_HOST: 'h' })).toBe('add-security-fields 0016');
    expect(name({ DB_HOST: 'h', PGAPPNAME: 'libpq' })).toBe('libpq');
    expect(name({ DATABASE_URL: 'postgres://h/d?application_name=mine', PGAPPNAME: 'libpq' })).toBe('mine');
  });

  test.each<[Environment, number]>([
    [{ DB_HOST: 'h' }, 10_000],
    [{ DB_HOST: 'h', PGCONNECT_TIMEOUT: '3' }, 3_000],
    [{ DATABASE_URL: 'postgres://h/d?connect_timeout=4', PGCONNECT_TIMEOUT: '3' }, 4_000],
  ])('how long it waits: %j', (env, milliseconds) => {
    expect(connectionFrom(env)?.connectionTimeoutMillis).toBe(milliseconds);
  });
});
