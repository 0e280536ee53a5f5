import { UserError } from '../user-error';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where it is configured: DATABASE_URL, the application's names (DB_HOST, ...), libpq's variables (PGHOST, ...). */
export type Source = 'URL' | 'DB' | 'PG';

/** libpq's parameters (PostgreSQL manual, "Parameter Key Words") that are honoured. */
export const honoured = (
  'host port dbname user password options application_name fallback_application_name connect_timeout ' +
  'keepalives keepalives_idle sslmode sslnegotiation sslrootcert sslcert sslkey sslpassword'
).split(' ');

/** The others: they would be passed over in silence. */
const others = (
  'channel_binding client_encoding gssencmode hostaddr load_balance_hosts require_auth requirepeer requiressl service ' +
  'ssl_min_protocol_version ssl_max_protocol_version sslcertmode sslcrl sslcrldir sslsni target_session_attrs'
).split(' ');

/** What node-postgres does anyway may be asked for. (uselibpqcompat is its own: sslmode as libpq means it.) */
const harmless = [
  /^(channel_binding|gssencmode)=(disable|prefer)$/,
  /^client_encoding=(utf-?8|auto)$/i,
  /^(load_balance_hosts=disable|sslcertmode=allow|sslsni=1|target_session_attrs=any|uselibpqcompat=true)$/,
];

const instead: readonly (readonly [parameters: RegExp, advice: string])[] = [
  [/^(schema|currentSchema|search_path)$/, 'DB_SCHEMA does it.'],
  [/^(ssl|requiressl)$/, 'sslmode (DB_SSLMODE) require, verify-ca or verify-full does it.'],
  [/^passfile$/, 'PGPASSFILE does it.'],
  [/^service$/, "Its file's lines can be PGHOST, PGDATABASE and so on."],
  [/^hostaddr$/, 'host takes an address as well.'],
];

/** What a parameter is called in a source. */
export function nameOf(source: Source, parameter: string): string {
  const escapes = parameter === 'password' ? ' (where @ : / ? # % are %40 %3A %2F %3F %23 %25)' : '';
  if (source === 'URL') return `${parameter} in DATABASE_URL${escapes}`;
  if (source === 'DB' && /^(host|port|dbname|user|password|ssl.*)$/.test(parameter))
    return `DB_${parameter.replace('dbname', 'name').toUpperCase()}`;
  return irregular.get(parameter) ?? `PG${parameter.replaceAll('_', '').toUpperCase()}`;
}

const irregular = new Map([
  ['dbname', 'PGDATABASE'],
  ['application_name', 'PGAPPNAME'],
  ['connect_timeout', 'PGCONNECT_TIMEOUT'],
  // PGCLIENTENCODING is psql's business: what we send and get is UTF-8.
  ['client_encoding', ''],
]);

/**
 * libpq's parameters, those of the source, then TLS by DB_SSLMODE and DB_SSLROOTCERT, then libpq's variables: the value of
 * each, and the name that the user's configuration has for it.
 *
 * @throws UserError that names the parameter which cannot be honoured
 */
export function gathered(env: Environment, source: Source) {
  const given = new Map<string, { value: string; name: string }>();
  const take = (place: Source, parameter: string, value = env[nameOf(place, parameter)] || undefined) => {
    if (value === undefined || given.has(parameter)) return;
    const name = nameOf(place, parameter);
    if (!value) throw new UserError(`${name} is empty. Give it a value, or take it out.`);
    if (!honoured.includes(parameter) && !harmless.some((pair) => pair.test(`${parameter}=${value}`))) {
      const [, advice = ''] = instead.find(([parameters]) => parameters.test(parameter)) ?? [];
      throw new UserError(`${name} cannot be honoured as it is: take it out. ${advice}`.trimEnd());
    }
    given.set(parameter, { value, name });
  };
  const url = source === 'URL' ? parametersOf(env['DATABASE_URL'] ?? '') : [];
  for (const [parameter, value] of url) take('URL', parameter, value);
  for (const parameter of source === 'DB' ? honoured : ['sslmode', 'sslrootcert']) take('DB', parameter);
  // No parameter of libpq's; but whoever says it means TLS.
  if (source === 'DB' && !given.has('sslmode')) take('DB', 'ssl');
  for (const parameter of [...honoured, ...others]) take('PG', parameter);
  return given;
}

/** libpq's URI ("Connection URIs"). The URL of Node knows no empty host, and takes + in a query for a space. */
const uri =
  /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[^\]]*\]|[^:@/?#[\]]*)(?::(\d*(?:,[^/?#@]*)?))?(?:\/([^@?#]*))?(?:\?((?:\w+=[^@#&]*(?:&|$))*))?$/;

function parametersOf(url: string): ReadonlyMap<string, string> {
  const [isUri, user, password, host, port, dbname, query = ''] = uri.exec(url) ?? [];
  const parts = { user, password, host: host?.replace(/^\[(.*)\]$/, '$1'), port, dbname };
  const pairs = [
    ...Object.entries(parts).filter(([, text]) => text),
    // As libpq does for the sake of JDBC.
    ...Array.from(query.matchAll(/(\w+)=([^&]*)/g), ([pair, name, text]) =>
      pair === 'ssl=true' ? ['sslmode', 'require'] : [name, text],
    ),
  ];
  try {
    if (isUri === undefined) throw new URIError();
    return new Map(pairs.map(([name = '', text = '']) => [name, decodeURIComponent(text)]));
  } catch {
    // The error would show the password.
    throw new UserError(
      'DATABASE_URL is malformed. It looks like postgres://user:password@host:5432/database, and in the password\n' +
        '@ : / ? # and % are written as %40 %3A %2F %3F %23 and %25.',
    );
  }
}
