import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { UserError } from '../user-error';
import { type Environment, gathered, honoured, nameOf, type Source } from './parameters';
import { tls } from './tls';

export type { Environment } from './parameters';

/** What node-postgres takes, and Knex hands on: complete, so that the driver adds nothing of its own. */
export type ConnectionSettings = NonNullable<ReturnType<typeof connectionFrom>>;

/**
 * Where the environment says that the database is; the first of these that is there counts:
 * DATABASE_URL; DB_HOST, DB_NAME and the other names of the Django application's .env; libpq's PGHOST, PGDATABASE.
 * What is left out is libpq's to say: its other variables, its default files, the user's own name.
 *
 * @returns undefined where nothing is configured
 * @throws UserError, which never shows the password
 */
export function connectionFrom(env: Environment) {
  const source = sourceOf(env);
  if (!source) return undefined;
  const given = gathered(env, source);
  const value = (parameter: string) => given.get(parameter)?.value;
  const called = (parameter: string) => given.get(parameter)?.name ?? nameOf(source, parameter);
  const number = (parameter: string, otherwise: number, most = 1_000_000) => {
    const text = value(parameter) ?? String(otherwise);
    if (/^\d+$/.test(text) && Number(text) > 0 && Number(text) <= most) return Number(text);
    throw new UserError(`${called(parameter)} is "${text}". It is a number from 1 to ${most}.`);
  };
  if (`${value('host')} ${value('port')}`.includes(','))
    throw new UserError(
      `${called('host')} names several servers. Name one: the primary, which takes writes.`,
    );
  const port = number('port', 5432, 65_535);
  const host =
    value('host') ?? sockets.find((folder) => existsSync(`${folder}/.s.PGSQL.${port}`)) ?? 'localhost';
  const user = value('user') ?? ownName(called('user'));
  // As with libpq, no TLS on a Unix socket.
  const ssl = host.startsWith('/') ? false : tls(value, called);
  return {
    host,
    port,
    user,
    database: value('dbname') ?? user,
    password: value('password') ?? passwordFile,
    ssl,
    // Checked by node-postgres.
    sslnegotiation: (value('sslnegotiation') ?? 'postgres') as 'postgres',
    options: value('options') ?? '',
    application_name: value('application_name') ?? '',
    fallback_application_name: value('fallback_application_name') ?? 'add-security-fields 0016',
    // Knex waits for 30 s, and then blames its pool.
    connectionTimeoutMillis: number('connect_timeout', 10, 29) * 1000,
    // Without them a server that is gone without a word is waited for without end.
    keepAlive: value('keepalives') !== '0',
    keepAliveInitialDelayMillis: number('keepalives_idle', 10) * 1000,
    /** What one of libpq's parameters is called where it is, or would be, configured: DB_HOST, or "host in DATABASE_URL". */
    called,
  };
}

/** Where libpq looks for a server when no host is named: Debian's folder, and PostgreSQL's own. */
const sockets = ['/var/run/postgresql', '/tmp'];

/** Whatever looks like a configuration and is none is an error: it must not lead to the embedded server. */
function sourceOf(env: Environment): Source | undefined {
  const names = Object.keys(env).filter((name) => env[name]);
  const missing = settings.filter((setting) => !env[setting]);
  // One letter is missing, too many or another one, or two have changed places.
  const slips = new Map(
    missing.flatMap((setting) => lessOne(setting).map((part) => [part, setting] as const)),
  );
  for (const name of names) {
    const meant = lessOne(name.toUpperCase()).flatMap((part) => slips.get(part) ?? [])[0];
    if (meant && !settings.includes(name))
      throw new UserError(`${name} is set, and ${meant} is not. Is it a slip? Correct it, or unset it.`);
  }
  if (env['DATABASE_URL']) return 'URL';
  if (env['DB_HOST'] || env['DB_NAME']) return 'DB';
  const isLibpq = names.some((name) => /^PG(HOST|HOSTADDR|DATABASE|SERVICE)$/.test(name));
  // Empty ones as well: a secret that a pipeline did not find.
  const half = isLibpq
    ? /^(DATABASE_URL|DB_(USER|PASSWORD|PORT))$/
    : /^(DATABASE_|DB_(?!SCHEMA$)|PG(HOST|PORT|DATABASE|USER|PASSWORD|SSL|TARGET|CHANNEL))/;
  const alone = Object.keys(env).find((name) => half.test(name));
  if (!alone) return isLibpq ? 'PG' : undefined;
  throw new UserError(
    `${alone} is ${env[alone] ? 'set' : 'empty'}, and it is not clear which database is meant: DATABASE_URL, DB_HOST and DB_NAME, or PGHOST and\n` +
      `PGDATABASE. Say it, or unset ${alone} for the embedded server.`,
  );
}

const settings = honoured
  .flatMap((parameter) => [nameOf('DB', parameter), nameOf('PG', parameter)])
  .concat('DATABASE_URL', 'DB_SCHEMA', 'MIGRATIONS_TABLE', 'MIGRATION_LOCK_DEADLINE', 'MIGRATION_QUIET')
  .concat('MIGRATION_IGNORE_DEPENDENTS');

/** A text without one of its letters, in turn, and the text itself. */
function lessOne(text: string): string[] {
  return Array.from(`${text} `, (_, i) => text.slice(0, i) + text.slice(i + 1));
}

function ownName(setting: string): string {
  try {
    return userInfo().username;
  } catch {
    // In a container a user may have a number alone.
    throw new UserError(`This user of the system has no name. Say as which role to connect: ${setting}.`);
  }
}

/** The driver would read ~/.pgpass itself, with a warning that it will not for much longer. */
async function passwordFile(asked?: { host: string }): Promise<string> {
  // As to libpq, a socket in its own folder is localhost.
  const host = sockets.includes(asked?.host ?? '') ? 'localhost' : asked?.host;
  // Where there is no such line it finds undefined. node-postgres takes that, too, and its types do not know.
  const find: (asked: object, found: (password: string) => void) => void = require('pgpass');
  return new Promise((resolve) => find({ ...asked, host }, resolve));
}
