import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type { Knex } from 'knex';
import { UserError } from '../user-error';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where the environment says that the database is; the first of these that is there counts:
 * DATABASE_URL; DB_HOST, DB_NAME and the other names of the Django application's .env; libpq's PGHOST, PGDATABASE.
 * node-postgres itself reads the PG names and ~/.pgpass for whatever is left out.
 *
 * @returns undefined where nothing is configured
 * @throws UserError, which never shows the password
 */
export function connectionFrom(env: Environment): Knex.PgConnectionConfig | undefined {
  const given = env['DATABASE_URL'] ? fromUrl(env['DATABASE_URL']) : fromNames(env);
  if (!given) return undefined;
  const { sslmode, sslrootcert, sslcert, sslkey, ssl, connect_timeout, port, ...rest } = given;
  const isSocket = (rest['host'] ?? env['PGHOST'] ?? '').startsWith('/');
  const mode = sslmode || (ssl === 'true' && 'verify-full') || env['DB_SSLMODE'] || env['PGSSLMODE'];
  const files = {
    ca: sslrootcert || env['DB_SSLROOTCERT'] || env['PGSSLROOTCERT'],
    cert: sslcert || env['PGSSLCERT'],
    key: sslkey || env['PGSSLKEY'],
  };
  const connection = {
    ...rest,
    ...(port && { port: portNumber(port) }),
    // A fallback: PGAPPNAME and the URL's application_name go before it.
    fallback_application_name: 'add-security-fields 0016',
    // Without it Knex waits for a minute, and then blames its pool.
    connectionTimeoutMillis: 1000 * Number(connect_timeout || env['PGCONNECT_TIMEOUT'] || 10),
    ssl: isSocket ? false : tls(mode || (files.ca && 'verify-full') || 'disable', files),
  };
  return connection;
}

/** Parsed here, not by node-postgres, which warns on stderr about most values of sslmode. */
function fromUrl(text: string): Record<string, string> {
  try {
    // user@/database?host=/run/postgresql is a socket for libpq, and no URL for Node.
    const url = new URL(text.replace('@/', '@localhost/'));
    if (!/^postgres(ql)?:$/.test(url.protocol) || url.hash) throw new URIError();
    return present({
      user: decodeURIComponent(url.username),
      password: decodeURIComponent(url.password),
      host: decodeURIComponent(url.hostname).replace(/^\[|\]$/g, ''),
      port: url.port,
      database: decodeURIComponent(url.pathname.slice(1)),
      ...Object.fromEntries(url.searchParams),
    });
  } catch {
    throw new UserError(
      'DATABASE_URL is malformed. It looks like postgres://user:password@host:5432/database, and in the\n' +
        'password @ : / ? # and % are written as %40 %3A %2F %3F %23 and %25.',
    );
  }
}

function fromNames(env: Environment): Record<string, string> | undefined {
  if (env['DB_HOST'] || env['DB_NAME']) {
    return present({
      host: env['DB_HOST'],
      port: env['DB_PORT'],
      database: env['DB_NAME'],
      user: env['DB_USER'],
      password: env['DB_PASSWORD'],
    });
  }
  return env['PGHOST'] || env['PGDATABASE'] ? {} : undefined;
}

/** An empty value is as good as none: a .env file often has `DB_PASSWORD=`. */
function present(values: Environment): Record<string, string> {
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => !!entry[1]));
}

function portNumber(port: string): number {
  if (/^\d+$/.test(port) && Number(port) < 65_536) return Number(port);
  throw new UserError(
    `The port "${port}" of the database is not a number from 1 to 65535: set DB_PORT right.`,
  );
}

/**
 * The modes as libpq means them, and so psql and Django: `require` encrypts, and checks the server's certificate
 * only against a root certificate that is given. https://www.postgresql.org/docs/current/libpq-ssl.html
 */
function tls(mode: string, files: { readonly [name in 'ca' | 'cert' | 'key']: string | undefined }) {
  const options: ConnectionOptions = {};
  for (const name of ['ca', 'cert', 'key'] as const) {
    const file = files[name];
    // sslrootcert=system: the authorities that Node brings along.
    if (file && file !== 'system' && mode !== 'disable') options[name] = read(file);
  }
  switch (mode) {
    case 'disable':
      return false;
    case 'require':
      return files.ca ? { ...options, checkServerIdentity } : { ...options, rejectUnauthorized: false };
    case 'verify-ca':
      return { ...options, checkServerIdentity };
    case 'verify-full':
      return options;
    default:
      throw new UserError(
        `sslmode "${mode}" is not one of disable, require, verify-ca and verify-full. Those that try one way and\n` +
          'then the other (allow, prefer) are not supported: say require, or disable where the server has no TLS.',
      );
  }
}

/** Any name will do. */
const checkServerIdentity = () => undefined;

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`Cannot read the certificate file ${file}: ${(error as Error).message}`);
  }
}
