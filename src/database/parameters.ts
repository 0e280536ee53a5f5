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
export const honoured = new Set(
  (
    'host port dbname user password options application_name fallback_application_name connect_timeout ' +
    'keepalives keepalives_idle sslmode sslnegotiation sslrootcert sslcert sslkey sslpassword'
  ).split(' '),
);

/** Where node-postgres does one thing only: the values that ask for it. Another one would be passed over in silence. */
const fixed = new Map([
  ['channel_binding', /^(disable|prefer)$/],
  ['client_encoding', /^(utf-?8|auto)$/i],
  ['gssencmode', /^(disable|prefer)$/],
  ['load_balance_hosts', /^disable$/],
  ['ssl_min_protocol_version', /^TLSv1.2$/],
  ['sslcertmode', /^allow$/],
  ['sslcompression', /^0$/],
  ['sslsni', /^1$/],
  ['target_session_attrs', /^any$/],
  // node-postgres's own: sslmode as libpq means it.
  ['uselibpqcompat', /^true$/],
  ...'hostaddr service require_auth requirepeer sslcrl sslcrldir'
    .split(' ')
    .map((name) => [name, /(?!)/] as const),
]);

const instead = new Map([
  ['schema', 'DB_SCHEMA does it.'],
  ['currentSchema', 'DB_SCHEMA does it.'],
  ['search_path', 'DB_SCHEMA does it.'],
  ['ssl', 'sslmode=require, verify-ca or verify-full does it.'],
  ['passfile', 'PGPASSFILE does it.'],
  ['service', "Its file's lines can be PGHOST, PGDATABASE and so on."],
  ['hostaddr', 'host takes an address as well.'],
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
  // PGCLIENTENCODING is psql's business: what we send and get is UTF-8.
  ['client_encoding', ''],
]);

/**
 * libpq's parameters by name: those of the source, then TLS by DB_SSLMODE and DB_SSLROOTCERT, then libpq's variables.
 *
 * @throws UserError that names the parameter which cannot be honoured
 */
export function gathered(env: Environment, source: Source): ReadonlyMap<string, Given> {
  const given = new Map<string, Given>();
  const add = (parameter: string, value: string | undefined, name: string) => {
    if (value === undefined || given.has(parameter)) return;
    if (!value) throw new UserError(`${name} is empty. Give it a value, or take it out.`);
    if (!honoured.has(parameter) && !fixed.get(parameter)?.test(value)) {
      const advice = `${name} cannot be honoured as it is: take it out. ${instead.get(parameter) ?? ''}`;
      throw new UserError(advice.trimEnd());
    }
    given.set(parameter, { value, name });
  };
  const addFrom = (place: Source, parameters: readonly string[]) => {
    for (const parameter of parameters)
      add(parameter, env[nameOf(place, parameter)] || undefined, nameOf(place, parameter));
  };
  if (source === 'URL')
    for (const [parameter, value] of parametersOf(env['DATABASE_URL'] ?? ''))
      add(parameter, value, nameOf(source, parameter));
  if (source === 'DB') addFrom('DB', ['host', 'port', 'dbname', 'user', 'password']);
  addFrom('DB', ['sslmode', 'sslrootcert']);
  addFrom('PG', [...honoured, ...fixed.keys()]);
  if (env['PGREQUIRESSL'] === '1') add('sslmode', 'require', 'PGREQUIRESSL');
  return given;
}

/** libpq's URI ("Connection URIs"). The URL of Node knows no empty host, and takes + in a query for a space. */
const uri =
  /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[^\]]*\]|[^:@/?#[\]]*)(?::(\d*(?:,[^/?#@]*)?))?(?:\/([^@?#]*))?(?:\?([^#]*))?$/;

function parametersOf(url: string): ReadonlyMap<string, string> {
  const [isUri, user, password, host, port, dbname, query] = uri.exec(url) ?? [];
  try {
    if (isUri === undefined) throw new URIError();
    const parameters = new Map<string, string>();
    const parts = { user, password, host: host?.replace(/^\[(.*)\]$/, '$1'), port, dbname };
    for (const [name, text] of Object.entries(parts))
      if (text) parameters.set(name, decodeURIComponent(text));
    for (const part of query?.split('&').filter(Boolean) ?? []) {
      const [, name, text] = /^(\w+)=([^@]*)$/.exec(part) ?? [];
      if (!name) throw new URIError();
      const value = decodeURIComponent(text ?? '');
      // As libpq does for the sake of JDBC, and of its own past.
      if (name === 'ssl' && value === 'true') parameters.set('sslmode', 'require');
      else if (name === 'requiressl') parameters.set('sslmode', value === '1' ? 'require' : 'prefer');
      else parameters.set(name, value);
    }
    return parameters;
  } catch {
    // The error would show the password.
    throw new UserError(
      'DATABASE_URL is malformed. It looks like postgres://user:password@host:5432/database, and in the password\n' +
        '@ : / ? # and % are written as %40 %3A %2F %3F %23 and %25.',
    );
  }
}
