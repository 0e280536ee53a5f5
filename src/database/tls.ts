import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { UserError } from '../user-error';

/**
 * TLS as libpq means it ("SSL Support"), for node-postgres, which by itself takes `require` for `verify-full` and
 * `system` for a file's name. `system` are the authorities that Node.js knows.
 *
 * @param value of one of libpq's parameters, where it is given
 * @param called what the user's configuration calls it
 * @returns false where there is to be none
 * @throws UserError
 */
export function tls(
  value: (parameter: string) => string | undefined,
  called: (parameter: string) => string,
): ConnectionOptions | false {
  const root = value('sslrootcert');
  const mode = value('sslmode') ?? (root ? 'verify-full' : 'disable');
  if (!['disable', 'require', 'verify-ca', 'verify-full'].includes(mode)) {
    throw new UserError(
      `${called('sslmode')} is "${mode}", and not one of disable, require, verify-ca and verify-full. Modes that try TLS\n` +
        'and then do without (allow, prefer) are not supported: say require, or disable where the server has no TLS.',
    );
  }
  if (root === 'system' && mode !== 'verify-full')
    throw new UserError(`${called('sslrootcert')} is "system". It needs the sslmode verify-full.`);
  if (mode === 'disable') {
    if (value('sslnegotiation') !== 'direct') return false;
    throw new UserError(
      `${called('sslnegotiation')} is "direct". It needs the sslmode require or a stricter one.`,
    );
  }
  const read = (parameter: string, defaultFile: string) => {
    const path = value(parameter) ?? [join(folder, defaultFile)].find(existsSync);
    try {
      return path && readFileSync(path, 'utf8');
    } catch (error) {
      throw new UserError(`The file in ${called(parameter)} cannot be read: ${(error as Error).message}.`);
    }
  };
  const ca = root === 'system' ? undefined : read('sslrootcert', 'root.crt');
  if (mode === 'verify-ca' && !ca)
    throw new UserError(`verify-ca needs a root certificate. Name its file in ${called('sslrootcert')}.`);
  const cert = read('sslcert', 'postgresql.crt');
  const key = cert && read('sslkey', 'postgresql.key');
  if (cert && !key)
    throw new UserError(`A client certificate needs its key. Name the file in ${called('sslkey')}.`);
  return {
    ca,
    cert,
    key,
    passphrase: value('sslpassword'),
    // require checks the authority where one is named, and the name that the certificate is for nowhere.
    ...(mode === 'require' && !ca && { rejectUnauthorized: false }),
    ...(mode !== 'verify-full' && ca && { checkServerIdentity: () => undefined }),
  };
}

/** Where libpq looks for files that are named nowhere ("SSL Client File Usage"). */
const folder =
  process.platform === 'win32'
    ? join(process.env['APPDATA'] ?? '', 'postgresql')
    : join(homedir(), '.postgresql');
