exports.up = (pgm) => {
  pgm.addColumns('user_profiles', {
    failed_login_attempts: { type: 'integer', notNull: true, default: 0 },
    account_locked_until: { type: 'timestamptz' },
    password_reset_token: { type: 'varchar(255)' },
    password_reset_token_expires: { type: 'timestamptz' },
    last_password_change: { type: 'timestamptz' },
    email_verified_at: { type: 'timestamptz' },
    auth_provider: { type: 'varchar(50)' },
    external_id: { type: 'varchar(255)' },
  });
  pgm.alterColumn('user_profiles', 'email_verification_token', { type: 'varchar(255)' });
  pgm.alterColumn('user_profiles', 'email_verified', { default: false });
  pgm.renameColumn('user_profiles', 'backup_codes', 'mfa_backup_codes');
  pgm.alterColumn('user_profiles', 'mfa_backup_codes', { notNull: false });
};
