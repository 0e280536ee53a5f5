import { tableChange } from '../src/table-change';

export const { up, down, plan, rehearse, verify, script } = tableChange({
  id: '0016',
  table: 'user_profiles',
  why: '/mfa/setup/ fails: column "failed_login_attempts" of relation "user_profiles" does not exist.',
  after: "Run the application's migrations up to 0015 first (not in production: SEED=1 npx knex seed:run).",
  knex: { migration: '0016_add_security_fields', endsWith: 'security_fields' },
  django: { app: 'healthcare', migration: '0016_add_security_fields' },
  add: {
    failed_login_attempts: { type: 'integer', notNull: true, default: '0' },
    account_locked_until: { type: 'timestamptz' },
    password_reset_token: { type: 'varchar(255)' },
    password_reset_token_expires: { type: 'timestamptz' },
    last_password_change: { type: 'timestamptz' },
    email_verification_token: { type: 'varchar(255)' },
    email_verified: { type: 'boolean', notNull: true, default: 'false' },
    email_verified_at: { type: 'timestamptz' },
    auth_provider: { type: 'varchar(50)' },
    external_id: { type: 'varchar(255)' },
  },
  // Nullable afterwards: the application stores NULL for a profile without codes.
  rename: {
    from: 'backup_codes',
    to: 'mfa_backup_codes',
    type: 'text',
    moveWhere: 'mfa_enabled',
    empty: '[]',
  },
});
