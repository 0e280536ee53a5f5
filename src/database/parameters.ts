import { UserError } from '../user-error';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where it is configured: DATABASE_URL, the application's names (DB_HOST, ...), libpq's variables (PGHOST, ...). */
export type Source = 'URL' | 'DB' | 'PG';

interface Given {
  readonly value: string;
  /** What the user's configuration calls it. */
  readonly name: string;
}

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
  [/^(ssl|requiressl)$/, 'sslmode=require, verify-ca or verify-full does it.'],
  [/^passfile$/, 'PGPASSFILE does it.'],
  [/^service$/, "Its file's lines can be PGHOST, PGDATABASE and so on."],
  [/^hostaddr$/, 'host takes an address as well.'],
];

/** What a parameter is called in a source. */
export function nameOf(source: Source, parameter: string): string {
  const escapes = parameter === 'password' ? ' (where @ : / ? # % are %40 %3A %2F %3F %23 %25)' : '';
  if (source === 'URL') return `${parameter} in DATABASE_URL${escapes}`;
  if (source === 'DB' && /^(host|port|dbname|user|password|sslmode|sslrootcert)$/.test(parameter))
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
 * libpq's parameters by name: those of the source, then TLS by DB_SSLMODE and DB_SSLROOTCERT, then libpq's variables.
 *
 * @throws UserError that names the parameter which cannot be honoured
 */
export function gathered(env: Environment, source: Source): ReadonlyMap<string, Given> {
  const from = (place: Source, parameters: readonly string[]) =>
    parameters.map((parameter) => [parameter, env[nameOf(place, parameter)] || undefined, place] as const);
  const url = source === 'URL' ? parametersOf(env['DATABASE_URL'] ?? '') : [];
  const given = new Map<string, Given>();
  for (const [parameter, value, place] of [
    ...Array.from(url, ([parameter, value]) => [parameter, value, source] as const),
    ...from('DB', source === 'DB' ? honoured : ['sslmode', 'sslrootcert']),
    ...from('PG', [...honoured, ...others]),
  ]) {
    if (value === undefined || given.has(parameter)) continue;
    const name = nameOf(place, parameter);
    if (!value) throw new UserError(`${name} is empty. Give it a value, or take it out.`);
    if (!honoured.includes(parameter) && !harmless.some((pair) => pair.test(`${parameter}=${value}`))) {
      const [, advice = ''] = instead.find(([parameters]) => parameters.test(parameter)) ?? [];
      throw new UserError(`${name} cannot be honoured as it is: take it out. ${advice}`.trimEnd());
    }
    given.set(parameter, { value, name });
  }
  return given;
}

/** libpq's URI ("Connection URIs"). The URL of Node knows no empty host, and takes + in a query for a space. */
const uri =
  /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[^\]]*\]|[^:@/?#[\]]*)(?::(\d*(?:,[^/?#@]*)?))?(?:\/([^@?#]*))?(?:\?((?:\w+=[^@#&]*(?:&|$))*))?$/;

function parametersOf(url: string): ReadonlyMap<string, string> {
  const [isUri, user, password, host, port, dbname, query = ''] = uri.exec(url) ?? [];
  try {
    if (isUri === undefined) throw new URIError();
    const parts = { user, password, host: host?.replace(/^\[(.*)\]$/, '$1'), port, dbname };
    const named = query.matchAll(/(\w+)=([^&]*)/g);
    return new Map([
      ...Object.entries(parts).flatMap(([name, text]) =>
        text ? [[name, decodeURIComponent(text)] as const] : [],
      ),
      // As libpq does for the sake of JDBC.
      ...Array.from(named, ([pair, name = '', text = '']) =>
        pair === 'ssl=true' ? (['sslmode', 'require'] as const) : ([name, decodeURIComponent(text)] as const),
      ),
    ]);
  } catch {
    // The error would show the password.
    throw new UserError(
      'DATABASE_URL is malformed. It looks like postgres://user:password@host:5432/database, and in the password\n' +
        '@ : / ? # and % are written as %40 %3A %2F %3F %23 and %25.',
    );
  }
}
