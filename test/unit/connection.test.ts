import { Client } from 'pg';
import { connectionFrom, type Environment } from '../../src/database/connection';
import { UserError } from '../../src/user-error';

/** What node-postgres makes of an environment, without connecting. */
function understood(env: Environment) {
  const config = connectionFrom(env);
  const client = new Client({ ...config });
  const { host, port, database, user, password, ssl } = client;
  const { connectionParameters } = client as unknown as {
    connectionParameters: { fallback_application_name: string };
  };
  return {
    host,
    port,
    database,
    user,
    password,
    ssl,
    name: connectionParameters.fallback_application_name,
    config,
  };
}

const certificate = `${__dirname}/../fixtures/server.crt`;

describe('where the database is', () => {
  test('nothing is configured', () => {
    expect(connectionFrom({})).toBeUndefined();
    expect(connectionFrom({ DB_HOST: '', DB_NAME: '', PGHOST: '' })).toBeUndefined();
  });

  test.each([
    [{ DATABASE_URL: '' }, 'DATABASE_URL is empty'],
    [{ DB_HOST: '', DB_USER: 'u' }, 'DB_USER is set, and neither DB_HOST nor DB_NAME'],
    [{ DB_PASSWORD: 'secret' }, 'DB_PASSWORD is set, and neither DB_HOST nor DB_NAME'],
  ])('half of it is an error: %p', (env, message) => {
    expect(() => connectionFrom(env)).toThrow(`${message}: which database is meant?`);
  });

  test('a port is a number', () => {
    expect(() => connectionFrom({ DB_HOST: 'h', DB_PORT: 'abc' })).toThrow(
      'DB_PORT is "abc", and no number.',
    );
  });

  test('the URL goes before the DB_ names, and these before the PG names', () => {
    const names = { DB_HOST: 'named', DB_NAME: 'n', PGHOST: 'libpq' };
    expect(understood({ ...names, DATABASE_URL: 'postgres://url/u' })).toMatchObject({
      host: 'url',
      database: 'u',
    });
    expect(understood(names)).toMatchObject({ host: 'named', database: 'n', port: 5432 });
  });

  test('node-postgres reads the PG names itself', () => {
    const before = process.env;
    process.env = {
      ...before,
      PGHOST: 'libpq',
      PGPORT: '6543',
      PGDATABASE: 'd',
      PGUSER: 'u',
      PGPASSWORD: 'p',
    };
    try {
      const libpq = { host: 'libpq', port: 6543, database: 'd', user: 'u', password: 'p' };
      expect(understood({ PGDATABASE: 'd' })).toMatchObject(libpq);
      expect(understood({ DB_NAME: 'mine' })).toMatchObject({ ...libpq, database: 'mine' });
    } finally {
      process.env = before;
    }
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
    'secret',
  ])('malformed, and not shown: %s', (DATABASE_URL) => {
    const attempt = () => connectionFrom({ DATABASE_URL });
    expect(attempt).toThrow(UserError);
    expect(attempt).toThrow(/^DATABASE_URL is malformed(?![\s\S]*secret)/);
  });
});

describe('TLS', () => {
  const required = { rejectUnauthorized: false };
  const ca = expect.stringContaining('BEGIN CERTIFICATE');
  const checkServerIdentity = expect.any(Function);

  test.each<[string, Environment, unknown]>([
    ['none without a word', {}, false],
    ['disable', { DB_SSLMODE: 'disable', DB_SSLROOTCERT: certificate }, false],
    ['require', { DB_SSLMODE: 'require' }, required],
    [
      'require, with a root certificate',
      { DB_SSLMODE: 'require', DB_SSLROOTCERT: certificate },
      { ca, checkServerIdentity },
    ],
    ['verify-ca', { DB_SSLMODE: 'verify-ca', DB_SSLROOTCERT: certificate }, { ca, checkServerIdentity }],
    ['verify-full', { DB_SSLMODE: 'verify-full', DB_SSLROOTCERT: certificate }, { ca }],
    ['verify-full, by the authorities of Node', { DB_SSLMODE: 'verify-full' }, {}],
    ['a root certificate alone', { DB_SSLROOTCERT: certificate }, { ca }],
    ["libpq's names", { PGSSLMODE: 'require' }, required],
  ])('%s', (_, env, ssl) => {
    expect(understood({ DB_HOST: 'h', ...env }).ssl).toEqual(ssl);
    expect(understood({ DATABASE_URL: 'postgres://h/d', ...env }).ssl).toEqual(ssl);
  });

  test("the URL's own mode goes first", () => {
    expect(understood({ DATABASE_URL: 'postgres://h/d?sslmode=require', DB_SSLMODE: 'disable' }).ssl).toEqual(
      required,
    );
  });

  test.each(['prefer', 'allow', 'on'])('%s is refused', (DB_SSLMODE) => {
    expect(() => connectionFrom({ DB_HOST: 'h', DB_SSLMODE })).toThrow(
      /^sslmode "\w+" is not one of disable, require/,
    );
  });
});

describe('the rest', () => {
  test('says who it is, unless the user does', () => {
    expect(understood({ DB_HOST: 'h' }).name).toBe('add-security-fields 0016');
    const { config } = understood({ DATABASE_URL: 'postgres://h/d?application_name=mine' });
    expect(new URL(config?.connectionString ?? '').searchParams.get('application_name')).toBe('mine');
  });

  test('nothing that pgbouncer refuses', () => {
    const { config } = understood({ DB_HOST: 'h', DB_NAME: 'd' });
    expect(Object.keys(config ?? {})).toEqual([
      'connectionString',
      'connectionTimeoutMillis',
      'keepAlive',
      'keepAliveInitialDelayMillis',
    ]);
    expect([...new URL(config?.connectionString ?? '').searchParams.keys()].sort()).toEqual([
      'fallback_application_name',
      'host',
      'sslmode',
      'uselibpqcompat',
    ]);
  });

  test.each<[Environment, number]>([
    [{ DB_HOST: 'h' }, 10_000],
    [{ DB_HOST: 'h', PGCONNECT_TIMEOUT: '3' }, 3_000],
    [{ DATABASE_URL: 'postgres://h/d?connect_timeout=4', PGCONNECT_TIMEOUT: '3' }, 4_000],
  ])('how long it waits: %j', (env, milliseconds) => {
    expect(connectionFrom(env)?.connectionTimeoutMillis).toBe(milliseconds);
  });
});
