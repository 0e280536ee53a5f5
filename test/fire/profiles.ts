import type { Client } from 'pg';
import { loadState } from '../support/database';

/** The columns of user_profiles as 0015 leaves them, with their types and nullability, in order. */
const before = `id bigint!, role character varying(20)!, phone character varying(20), date_of_birth date, \
created_at timestamp with time zone!, updated_at timestamp with time zone!, user_id integer!, mfa_enabled boolean!, \
mfa_secret character varying(32), backup_codes jsonb!, email_verified boolean!, \
email_verification_token character varying(100), email_verification_sent_at timestamp with time zone, \
profile_picture character varying(100)`;

/** And as the migration leaves them. */
const after = `${before
  .replace('backup_codes jsonb!', 'mfa_backup_codes jsonb')
  .replace('email_verified boolean!', 'email_verified boolean! = false')
  .replace(
    'token character varying(100)',
    'token character varying(255)',
  )}, failed_login_attempts integer! = 0, \
account_locked_until timestamp with time zone, password_reset_token character varying(255), \
password_reset_token_expires timestamp with time zone, last_password_change timestamp with time zone, \
email_verified_at timestamp with time zone, auth_provider character varying(50), external_id character varying(255)`;

/** Every column that holds something of a person's, whichever of its two names the codes have. */
const values = `id, user_id, mfa_enabled, mfa_secret, email_verified, email_verification_token, failed_login_attempts,
  account_locked_until, password_reset_token, password_reset_token_expires, last_password_change, email_verified_at,
  auth_provider, external_id, mfa_backup_codes`;

/** user_profiles as 0015 leaves it, with so many people (20 are in the file). */
export async function loadProfiles(client: Client, people = 20): Promise<void> {
  await loadState(client, '0015');
  await client.query(`
    INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
    SELECT '!', false, 'user' || g, 'User', 'Number ' || g, 'user' || g || '@example.org', false, true, now()
    FROM generate_series(21, ${people}) g;
    INSERT INTO user_profiles (role, created_at, updated_at, user_id, mfa_enabled, mfa_secret, backup_codes, email_verified,
                               email_verification_token)
    SELECT 'patient', now(), now(), g, g % 2 = 0, CASE WHEN g % 2 = 0 THEN md5(g::text) END,
           CASE WHEN g % 2 = 0 THEN jsonb_build_array('C-' || g) ELSE '[]' END, g % 3 = 0, CASE WHEN g % 5 = 0 THEN 'verify-' || g END
    FROM generate_series(21, ${people}) g;
    ANALYZE user_profiles`);
}

/** Gives one person in twenty a value in each of the new columns, as the application does after the migration. */
export async function useNewColumns(client: Client): Promise<void> {
  await client.query(`
    UPDATE user_profiles
    SET failed_login_attempts = id % 7, account_locked_until = timestamptz '2030-01-01' + id * interval '1 second',
        password_reset_token = 'reset-' || id, password_reset_token_expires = timestamptz '2030-01-02',
        last_password_change = timestamptz '2025-01-01', email_verified_at = timestamptz '2025-01-02',
        auth_provider = 'saml', external_id = 'external-' || id
    WHERE id % 20 = 3`);
}

/** Which of the two shapes the application sees. @throws Error for any other one: half a change */
export async function shapeOf(client: Client): Promise<'before' | 'after'> {
  const { rows } = await client.query(`
    SELECT string_agg(format('%s %s%s', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN '!' END)
                      || coalesce(' = ' || pg_get_expr(adbin, adrelid), ''), ', ' ORDER BY attnum) AS shape
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = 'user_profiles'::regclass AND attnum > 0 AND NOT attisdropped`);
  const { shape } = rows[0];
  if (shape === after) return 'after';
  // A large table keeps the wider type.
  if (shape.replace('token character varying(255)', 'token character varying(100)') === before)
    return 'before';
  throw new Error(`half a change: ${shape}`);
}

/** A digest of every value that the table holds, to be taken while it has the shape `after`. */
export async function digest(client: Client): Promise<string> {
  const { rows } = await client.query(
    `SELECT count(*) || ' rows, ' || md5(string_agg(p::text, chr(10) ORDER BY id)) AS digest FROM (SELECT ${values} FROM user_profiles) p`,
  );
  return rows[0].digest;
}
