import { UserError } from '../user-error';
import type { Environment } from './connection';

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

const never = /(?!)/;

/** The others: the values that ask for what node-postgres does anyway, and what to do in place of another one. */
const others = new Map<string, readonly [unless: RegExp, instead?: string]>([
  ['channel_binding', [/^(disable|prefer)$/]],
  ['client_encoding', [/^(utf-?8|auto)$/i]],
  ['currentSchema', [never, 'DB_SCHEMA does it.']],
  ['gssencmode', [/^(disable|prefer)$/]],
  ['hostaddr', [never, 'host takes an address as well.']],
  ['load_balance_hosts', [/^disable$/]],
  ['passfile', [never, 'PGPASSFILE does it.']],
  ['requiressl', [never, 'sslmode=require does it.']],
  ['schema', [never, 'DB_SCHEMA does it.']],
  ['search_path', [never, 'DB_SCHEMA does it.']],
  ['service', [never, "Its file's lines can be PGHOST, PGDATABASE and so on."]],
  ['ssl', [never, 'sslmode=require, verify-ca or verify-full does it.']],
  ['sslcertmode', [/^allow$/]],
  ['sslsni', [/^1$/]],
  ['target_session_attrs', [/^any$/]],
  // node-postgres's own: sslmode as libpq means it.
  ['uselibpqcompat', [/^true$/]],
  ...'require_auth requirepeer ssl_min_protocol_version ssl_max_protocol_version sslcrl sslcrldir'
    .split(' ')
    .map((name) => [name, [never]] as const),
]);

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
  // pgpass reads PGPASSFILE; PGCLIENTENCODING is psql's business: what we send and get is UTF-8.
  ['passfile', ''],
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
    ...from('PG', [...honoured, ...others.keys()]),
  ]) {
    if (value === undefined || given.has(parameter)) continue;
    const name = nameOf(place, parameter);
    if (!value) throw new UserError(`${name} is empty. Give it a value, or take it out.`);
    const [unless, instead = ''] = others.get(parameter) ?? [never];
    if (!honoured.includes(parameter) && !unless.test(value))
      throw new UserError(`${name} cannot be honoured as it is: take it out. ${instead}`.trimEnd());
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
