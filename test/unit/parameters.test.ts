import { connectionFrom, type Environment } from '../../src/database/connection';
import { UserError } from '../../src/user-error';

const tls = (env: Environment) => connectionFrom(env)?.ssl;

const certificate = `${__dirname}/../fixtures/server.crt`;
const required = { rejectUnauthorized: false };
const ca = expect.stringContaining('BEGIN CERTIFICATE');
const checkServerIdentity = expect.any(Function);

describe('TLS', () => {
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
    expect(tls({ DB_HOST: 'h', ...env })).toEqual(ssl);
    expect(tls({ DATABASE_URL: 'postgres://h/d', ...env })).toEqual(ssl);
  });

  test('a client certificate alone asks for TLS', () => {
    const files = { PGSSLCERT: certificate, PGSSLKEY: certificate };
    expect(tls({ DATABASE_URL: 'postgres://h/d', ...files })).toEqual({ cert: ca, key: ca, ...required });
    expect(tls({ DB_HOST: 'h', DB_SSLCERT: certificate, DB_SSLKEY: certificate })).toEqual({
      cert: ca,
      key: ca,
      ...required,
    });
  });

  test('DB_SSL is no word of ours, but beside DB_SSLMODE the application’s own', () => {
    expect(() => connectionFrom({ DB_HOST: 'h', DB_SSL: 'true' })).toThrow(
      /^DB_SSL cannot .* \(DB_SSLMODE\)/,
    );
    expect(tls({ DB_HOST: 'h', DB_SSL: 'true', DB_SSLMODE: 'require' })).toEqual(required);
  });

  test("the URL's own mode goes first", () => {
    expect(tls({ DATABASE_URL: 'postgres://h/d?sslmode=require', DB_SSLMODE: 'disable' })).toEqual(required);
  });

  test.each(['prefer', 'allow', 'on'])('%s is refused', (DB_SSLMODE) => {
    expect(() => connectionFrom({ DB_HOST: 'h', DB_SSLMODE })).toThrow(
      /^DB_SSLMODE is "\w+". It is disable, require, /,
    );
  });
});

describe('parameters of the URL', () => {
  const at = (query: string) => `postgres://u:secret@h/d?${query}`;

  test.each<[string, unknown]>([
    ['ssl=true', required],
    ['sslmode=require&uselibpqcompat=true', required],
    [`sslmode=verify-ca&sslrootcert=${encodeURIComponent(certificate)}`, { ca, checkServerIdentity }],
    ['sslrootcert=system', {}],
    ['target_session_attrs=any&channel_binding=prefer&gssencmode=disable', false],
    // As with libpq, the last one counts.
    ['sslmode=disable&ssl=true', required],
  ])('%s', (query, ssl) => {
    expect(tls({ DATABASE_URL: at(query) })).toEqual(ssl);
  });

  test.each([
    ['schema=app', 'schema in DATABASE_URL cannot be honoured as it is: take it out. DB_SCHEMA does it.'],
    ['currentSchema=app', 'DB_SCHEMA does it.'],
    ['search_path=app', 'DB_SCHEMA does it.'],
    ['schema=', 'schema in DATABASE_URL is empty. Give it a value, or take it out.'],
    ['sslmode=', 'sslmode in DATABASE_URL is empty.'],
    ['ssl=1', 'sslmode (DB_SSLMODE) require, verify-ca or verify-full does it.'],
    ['requiressl=1', 'sslmode (DB_SSLMODE) require, verify-ca or verify-full does it.'],
    ['sslmode=no-verify', 'sslmode in DATABASE_URL is "no-verify". It is disable, require'],
    ['target_session_attrs=read-write', 'target_session_attrs in DATABASE_URL cannot be honoured'],
    ['channel_binding=require', 'channel_binding in DATABASE_URL cannot be honoured as it is: take it out.'],
    ['gssencmode=require', 'gssencmode in DATABASE_URL cannot be honoured'],
    ['client_encoding=latin1', 'client_encoding in DATABASE_URL cannot be honoured'],
    ['hostaddr=10.0.0.1', 'host takes an address as well.'],
    ['service=prod', "Its file's lines can be PGHOST, PGDATABASE and so on."],
    ['passfile=/x', 'PGPASSFILE does it.'],
    ['statement_timeout=5', 'statement_timeout in DATABASE_URL cannot be honoured'],
    // Knex would give up before.
    ['connect_timeout=30', 'connect_timeout in DATABASE_URL is "30". It is a number from 1 to 29.'],
    ['toString=5', 'toString in DATABASE_URL cannot be honoured'],
    ['host=a,b', 'host in DATABASE_URL names several servers. Name one'],
    [
      'sslrootcert=system&sslmode=require',
      'sslrootcert in DATABASE_URL is "system". It needs the sslmode verify-full.',
    ],
    [
      'sslmode=verify-ca',
      'verify-ca needs a root certificate. Name its file in sslrootcert in DATABASE_URL.',
    ],
    ['sslmode=require&sslcert=/nowhere.crt', 'The file in sslcert in DATABASE_URL cannot be read: ENOENT'],
  ])('refused: %s', (query, message) => {
    const attempt = () => connectionFrom({ DATABASE_URL: at(query) });
    expect(attempt).toThrow(UserError);
    expect(attempt).toThrow(message);
  });

  test.each(['postgres://u:secret@a,b/d', 'postgres://u:secret@a:1,b:2/d'])(
    'two servers: %s',
    (DATABASE_URL) => {
      expect(() => connectionFrom({ DATABASE_URL })).toThrow('names several servers');
    },
  );

  test.each<[Environment, string]>([
    [{ PGSERVICE: 'prod' }, 'PGSERVICE cannot be honoured'],
    [
      { PGHOST: 'h', PGREQUIRESSL: '1' },
      'PGREQUIRESSL cannot be honoured as it is: take it out. sslmode (DB_SSLMODE) require, ',
    ],
    [{ PGHOSTADDR: '10.0.0.1' }, 'PGHOSTADDR cannot be honoured'],
    [{ PGHOST: 'h', PGTARGETSESSIONATTRS: 'primary' }, 'PGTARGETSESSIONATTRS cannot be honoured'],
    [{ DB_HOST: 'h', PGCHANNELBINDING: 'require' }, 'PGCHANNELBINDING cannot be honoured'],
    [{ DB_HOST: 'a,b' }, 'DB_HOST names several servers'],
    [
      { PGHOST: 'h', PGSSLROOTCERT: 'system', PGSSLMODE: 'require' },
      'PGSSLROOTCERT is "system". It needs the sslmode verify-full.',
    ],
  ])("and of libpq's environment: %j", (env, message) => {
    expect(() => connectionFrom(env)).toThrow(message);
  });
});
