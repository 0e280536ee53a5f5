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
export function tls(value: (parameter: string) => string | undefined, called: (parameter: string) => string) {
  const refuse = (parameter: string, why: string) => {
    throw new UserError(`${called(parameter)} is "${value(parameter)}". ${why}`);
  };
  const root = value('sslrootcert');
  const mode = value('sslmode') ?? (root ? 'verify-full' : value('sslcert') ? 'require' : 'disable');
  if (!/^(disable|require|verify-ca|verify-full)$/.test(mode))
    refuse(
      'sslmode',
      'It is disable, require, verify-ca or verify-full: nothing goes on without TLS unasked.',
    );
  if (root === 'system' && mode !== 'verify-full') refuse('sslrootcert', 'It needs the sslmode verify-full.');
  if (mode === 'disable') return false;
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
  return {
    ca,
    cert: read('sslcert', 'postgresql.crt'),
    key: read('sslkey', 'postgresql.key'),
    passphrase: value('sslpassword'),
    // require checks the authority where one is named, and the name that the certificate is for nowhere.
    ...(mode === 'require' && !ca && { rejectUnauthorized: false }),
    ...(mode !== 'verify-full' && ca && { checkServerIdentity: () => undefined }),
  } satisfies ConnectionOptions;
}

/** Where libpq looks for files that are named nowhere ("SSL Client File Usage"). */
const folder =
  process.platform === 'win32'
    ? join(process.env['APPDATA'] ?? '', 'postgresql')
    : join(homedir(), '.postgresql');
