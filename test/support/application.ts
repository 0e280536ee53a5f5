import type { Client } from 'pg';

/** The declared shape as the application's model needs it: type, nullability and default of each column. */
export const declaredShape: Readonly<Record<string, string>> = {
  failed_login_attempts: 'integer NOT NULL DEFAULT 0',
  account_locked_until: 'timestamp with time zone',
  password_reset_token: 'character varying(255)',
  password_reset_token_expires: 'timestamp with time zone',
  last_password_change: 'timestamp with time zone',
  email_verification_token: 'character varying(255)',
  email_verified: 'boolean NOT NULL DEFAULT false',
  email_verified_at: 'timestamp with time zone',
  auth_provider: 'character varying(50)',
  external_id: 'character varying(255)',
};

/** The columns of user_profiles as they are: those of the declaration and both names of the renamed one. */
export async function shapeOf(client: Client): Promise<Record<string, string>> {
  const { rows } = await client.query<{ name: string; shape: string }>(
    `SELECT a.attname AS name, concat(format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' NOT NULL' END,
                                      ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)) AS shape
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = 'user_profiles'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ($1)`,
    [[...Object.keys(declaredShape), 'backup_codes', 'mfa_backup_codes']],
  );
  return Object.fromEntries(rows.map(({ name, shape }) => [name, shape]));
}

/** What the application writes once its columns are there: a value into each column of every profile. */
export async function writeValues(client: Client): Promise<void> {
  await client.query(`
    UPDATE user_profiles SET
      failed_login_attempts = user_id,
      account_locked_until = timestamptz '2030-01-01 12:00Z' + user_id * interval '1 hour',
      password_reset_token = 'reset-' || user_id,
      password_reset_token_expires = timestamptz '2030-02-01 12:00Z' + user_id * interval '1 hour',
      last_password_change = timestamptz '2024-01-01 12:00Z' + user_id * interval '1 hour',
      email_verification_token = rpad('verify-' || user_id || '-', 100, 'x'),
      email_verified = user_id % 2 = 1,
      email_verified_at = timestamptz '2024-02-01 12:00Z' + user_id * interval '1 hour',
      auth_provider = 'provider-' || user_id,
      external_id = 'external-' || user_id`);
}

/** What the application stores when a person's last code is used: NULL. */
export async function spendCodes(client: Client, user: number): Promise<void> {
  await client.query('UPDATE user_profiles SET mfa_backup_codes = NULL WHERE user_id = $1', [user]);
}

/** The values of some columns by person, in an order of its own. */
export async function valuesOf(
  client: Client,
  columns: readonly string[],
): Promise<Record<string, unknown>[]> {
  return (await client.query(`SELECT user_id, ${columns.join(', ')} FROM user_profiles ORDER BY user_id`))
    .rows;
}
