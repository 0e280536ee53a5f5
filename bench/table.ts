import type { Client } from 'pg';
import { shapeOf } from '../test/support/application';
import { schemaOf } from '../test/support/catalog';
import { freshDatabase, loadState, type TestDatabase } from '../test/support/database';

/** A database of its own with user_profiles in state 0015 and so many rows. */
export interface Table {
  readonly rows: number;
  readonly database: TestDatabase;
  /** What the server calls database and table in pg_locks. */
  readonly oids: { readonly database: number; readonly table: number };
  /** Puts it back into state 0015, whatever tool has changed it. @throws where anything is left over */
  readonly reset: () => Promise<void>;
}

export async function tableWith(rows: number, serverUrl: string): Promise<Table> {
  const database = await freshDatabase(serverUrl);
  const { client, admin } = database;
  await loadState(client, '0015');
  await grow(admin, rows);
  const oids = await admin.query(
    `SELECT d.oid::int AS database, 'user_profiles'::regclass::oid::int AS table FROM pg_database d WHERE datname = current_database()`,
  );
  const schema = await schemaOf(client);
  return {
    rows,
    database,
    oids: oids.rows[0],
    reset: async () => {
      await reset(admin, Object.keys(await shapeOf(client)));
      const left = await schemaOf(client);
      if (left.join('\n') !== schema.join('\n')) {
        throw new Error(
          `The table is not in state 0015:\n${left.filter((line) => !schema.includes(line)).join('\n')}`,
        );
      }
    },
  };
}

/** More people like those of test/states/0015.sql. */
async function grow(admin: Client, rows: number): Promise<void> {
  await admin.query(`
    SET session_replication_role = replica; -- no check of the foreign key, row by row
    INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
    SELECT '!', false, 'user' || g, 'User', 'Number ' || g, 'user' || g || '@example.org', false, true, now()
    FROM generate_series(21, ${rows}) g;
    INSERT INTO user_profiles (role, created_at, updated_at, user_id, mfa_enabled, mfa_secret, backup_codes, email_verified)
    SELECT 'patient', now(), now(), g, g % 2 = 0, CASE WHEN g % 2 = 0 THEN 'JBSWY3DPEHPK3PXP' END,
           CASE WHEN g % 2 = 0 THEN '["A1B2-C3D4", "E5F6-G7H8"]'::jsonb ELSE '[]' END, g % 3 = 0
    FROM generate_series(21, ${rows}) g;
    RESET session_replication_role`);
  await admin.query('VACUUM ANALYZE');
  await admin.query('CHECKPOINT');
}

/** The columns that the change adds to state 0015, in the order in which all tools add them. */
export const added = [
  'failed_login_attempts',
  'account_locked_until',
  'password_reset_token',
  'password_reset_token_expires',
  'last_password_change',
  'email_verified_at',
  'auth_provider',
  'external_id',
];

/**
 * A fresh copy of millions of rows would take longer than what is measured, and so would SQL's own way back, which
 * rewrites the table to make a column narrower. So the catalog's rows are set: no row has a value in the columns that
 * go, or all tools add them in the same order.
 */
async function reset(admin: Client, columns: readonly string[]): Promise<void> {
  const renamed = columns.includes('mfa_backup_codes');
  await admin.query(`
    DROP TABLE IF EXISTS knex_migrations, knex_migrations_lock, pgmigrations,
      user_profiles_0016_before, user_profiles_0016_up_archive, user_profiles_0016_down_archive;
    ${renamed ? 'ALTER TABLE user_profiles RENAME mfa_backup_codes TO backup_codes;' : ''}
    ALTER TABLE user_profiles ${added.map((name) => `DROP COLUMN IF EXISTS ${name}`).join(', ')},
      ALTER email_verified DROP DEFAULT, ALTER backup_codes SET NOT NULL;
    DELETE FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND attisdropped;
    UPDATE pg_class SET relnatts = 14 WHERE oid = 'user_profiles'::regclass;
    UPDATE pg_attribute SET atttypmod = 104
    WHERE attrelid = 'user_profiles'::regclass AND attname = 'email_verification_token'`);
  await admin.query(
    'VACUUM pg_attribute, pg_attrdef, pg_class, pg_type, pg_constraint, pg_depend, pg_shdepend, pg_index',
  );
}
