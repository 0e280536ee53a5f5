import { UserError } from '../user-error';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What node-postgres takes, and Knex hands on. */
export interface ConnectionSettings {
  readonly connectionString: string;
  readonly connectionTimeoutMillis: number;
  readonly keepAlive: boolean;
  readonly keepAliveInitialDelayMillis: number;
}

/**
 * Where the environment says that the database is; the first of these that is there counts:
 * DATABASE_URL; DB_HOST, DB_NAME and the other names of the Django application's .env; libpq's PGHOST, PGDATABASE.
 * node-postgres itself reads the PG names and ~/.pgpass for whatever is left out.
 *
 * @returns undefined where nothing is configured
 * @throws UserError, which never shows the password
 */
export function connectionFrom(env: Environment): ConnectionSettings | undefined {
  const url = configuredUrl(env);
  if (!url) return undefined;
  const given = url.searchParams;
  const fill = (name: string, value: string | undefined) => {
    if (value && !given.get(name)) given.set(name, value);
  };
  fill('sslrootcert', env['DB_SSLROOTCERT'] || env['PGSSLROOTCERT']);
  fill(
    'sslmode',
    env['DB_SSLMODE'] || env['PGSSLMODE'] || (given.get('sslrootcert') ? 'verify-full' : 'disable'),
  );
  const mode = given.get('sslmode') ?? '';
  if (!['disable', 'require', 'verify-ca', 'verify-full'].includes(mode)) {
    throw new UserError(
      `sslmode "${mode}" is not one of disable, require, verify-ca and verify-full. Modes that try TLS and then do\n` +
        'without (allow, prefer) are not supported: say require, or disable where the server has no TLS.',
    );
  }
  // As with libpq, no TLS on a Unix socket.
  if (/^(\/|%2f)/i.test(given.get('host') || url.hostname || env['PGHOST'] || ''))
    given.set('sslmode', 'disable');
  // node-postgres would take `require` for `verify-full`, and warn. So it means what it means to psql and Django.
  given.set('uselibpqcompat', 'true');
  // PGAPPNAME and the URL's application_name go before it.
  fill('fallback_application_name', 'add-security-fields 0016');
  // Without a limit Knex waits for a minute, and then blames its pool.
  const seconds = Number(given.get('connect_timeout') || env['PGCONNECT_TIMEOUT'] || 10);
  return {
    connectionString: url.href,
    connectionTimeoutMillis: seconds * 1000,
    // Without them a server that is gone without a word is waited for without end.
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
}

function configuredUrl(env: Environment): URL | undefined {
  if (env['DATABASE_URL']) return databaseUrl(env['DATABASE_URL']);
  const isNamed = env['DB_HOST'] || env['DB_NAME'];
  // A secret that is missing must not lead to the embedded server.
  const alone = ['DB_USER', 'DB_PASSWORD', 'DB_PORT'].find((name) => env[name]);
  if (!isNamed && (alone || env['DATABASE_URL'] === '')) {
    throw new UserError(
      `${alone ? `${alone} is set, and neither DB_HOST nor DB_NAME` : 'DATABASE_URL is empty'}: which database is meant?\n` +
        'Set it, or unset it for the embedded server.',
    );
  }
  if (!isNamed && !env['PGHOST'] && !env['PGDATABASE']) return undefined;
  const url = new URL('postgres:///');
  if (isNamed) {
    if (/\D/.test(env['DB_PORT'] ?? ''))
      throw new UserError(`DB_PORT is "${env['DB_PORT']}", and no number.`);
    url.pathname = encodeURIComponent(env['DB_NAME'] ?? '');
    for (const name of ['host', 'port', 'user', 'password']) {
      const value = env[`DB_${name.toUpperCase()}`];
      if (value) url.searchParams.set(name, value);
    }
  }
  return url;
}

function databaseUrl(text: string): URL {
  try {
    // user@/database?host=/run/postgresql is a socket for libpq, and no URL for Node.
    const url = new URL(text.replace('@/', '@localhost/'));
    if (/^postgres(ql)?:$/.test(url.protocol) && !url.hash) return url;
  } catch {
    // Node's error shows the password.
  }
  throw new UserError(
    'DATABASE_URL is malformed. It looks like postgres://user:password@host:5432/database, and in the password\n' +
      '@ : / ? # and % are written as %40 %3A %2F %3F %23 and %25.',
  );
}
