import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { urlWith } from '../support/database';
import { knexCommand } from '../support/knex';
import { reachedServer, reaches, works } from './reached-server';

const here = reachedServer();

describe('TLS with an authority of its own', () => {
  test('verify-full: right', async () => {
    const env = {
      DATABASE_URL: here().visitor,
      DB_SSLMODE: 'verify-full',
      DB_SSLROOTCERT: join(here().folder, 'ca.pem'),
    };
    await works(env);
    await reaches({
      DATABASE_URL: `${here().visitor}?sslmode=verify-full&sslrootcert=${encodeURIComponent(join(here().folder, 'ca.pem'))}`,
    });
  });

  test('verify-full: for another name, and what is said to do', async () => {
    const localhost = { DATABASE_URL: here().visitor.replace('127.0.0.1', 'localhost') };
    const tls = { DB_SSLMODE: 'verify-full', DB_SSLROOTCERT: join(here().folder, 'ca.pem') };
    const { code, stderr } = await knexCommand(['migrate:latest'], { ...localhost, ...tls });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Cannot connect to database .*localhost.* is not /);
    expect(stderr).toMatch(
      /\nConnect by a name that is in the certificate: host in DATABASE_URL.\nOr DB_SSLMODE=verify-ca: .*DB_SSLROOTCERT=FILE/,
    );
    await reaches({ ...localhost, ...tls, DB_SSLMODE: 'verify-ca' });
    await reaches({ DATABASE_URL: here().visitor, ...tls });
  });

  test('verify-full: by another authority, and what is said to do', async () => {
    const tls = { DB_SSLMODE: 'verify-full', DB_SSLROOTCERT: join(here().folder, 'other.pem') };
    const { code, stderr } = await knexCommand(['migrate:latest'], { DATABASE_URL: here().visitor, ...tls });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^Cannot connect to database .*certificate.*\nName the root .*: DB_SSLROOTCERT=FILE. Without one, DB_SSLMODE=require skips/,
    );
    await reaches({ DATABASE_URL: here().visitor, ...tls, DB_SSLROOTCERT: join(here().folder, 'ca.pem') });
    await reaches({ DATABASE_URL: here().visitor, DB_SSLMODE: 'require' });
  });

  test('the authorities of the system', async () => {
    const env = { DATABASE_URL: here().visitor, PGSSLROOTCERT: 'system' };
    const { code, stderr } = await knexCommand(['migrate:latest'], env);
    expect(code).toBe(1);
    expect(stderr).toMatch(/certificate.*\nName the root .*: PGSSLROOTCERT=FILE/);
    await reaches({ ...env, NODE_EXTRA_CA_CERTS: join(here().folder, 'ca.pem') });
  });

  test('demanded, and reached without', async () => {
    const { code, stderr } = await knexCommand(['migrate:latest'], { DATABASE_URL: here().visitor });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^Cannot connect to .*no encryption.*\nIf it wants TLS: sslmode=require in DATABASE_URL.\n$/,
    );
  });

  test.each(['ssl=true', 'sslmode=require&sslnegotiation=direct'])('as libpq means it: %s', (query) =>
    reaches({ DATABASE_URL: `${here().visitor}?${query}` }),
  );

  test('negotiated at once, without TLS', async () => {
    const { stderr } = await knexCommand(['migrate:list'], {
      DATABASE_URL: `${here().visitor}?sslnegotiation=direct`,
    });
    expect(stderr).toMatch(
      /requires SSL to be enabled.\nTLS is sslmode=require in DATABASE_URL, or a stricter/,
    );
  });

  test('a client certificate, by parameters, by variables and from the default files', async () => {
    const url = urlWith(here().database.url, { username: 'certified', password: '' });
    const tls = {
      PGSSLMODE: 'require',
      PGSSLCERT: join(here().folder, 'certified.pem'),
      PGSSLKEY: join(here().folder, 'certified.key'),
    };
    const { code, stderr } = await knexCommand(['migrate:list'], { DATABASE_URL: url, PGSSLMODE: 'require' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/client certificate.\nName the files .*: sslcert and sslkey in DATABASE_URL.\n$/);
    await reaches({ DATABASE_URL: url, ...tls });
    const { PGSSLKEY: _, ...keyless } = tls;
    expect((await knexCommand(['migrate:list'], { DATABASE_URL: url, ...keyless })).stderr).toMatch(
      /client certificate.\nName the files of yours and of its key: PGSSLCERT and sslkey in DATABASE_URL.\n$/,
    );
    const query = `sslmode=require&sslcert=${encodeURIComponent(tls.PGSSLCERT)}&sslkey=${encodeURIComponent(tls.PGSSLKEY)}`;
    await reaches({ DATABASE_URL: `${url}?${query}` });
    const files = join(here().folder, 'home', '.postgresql');
    mkdirSync(files, { recursive: true });
    copyFileSync(tls.PGSSLCERT, join(files, 'postgresql.crt'));
    copyFileSync(tls.PGSSLKEY, join(files, 'postgresql.key'));
    await reaches({ DATABASE_URL: url, PGSSLMODE: 'require', HOME: join(here().folder, 'home') });
    // As with psql, a root certificate there is one to be checked against.
    copyFileSync(join(here().folder, 'other.pem'), join(files, 'root.crt'));
    expect(
      (
        await knexCommand(['migrate:list'], {
          DATABASE_URL: url,
          PGSSLMODE: 'require',
          HOME: join(here().folder, 'home'),
        })
      ).code,
    ).toBe(1);
  });
});
