ALTER TABLE user_profiles RENAME COLUMN backup_codes TO mfa_backup_codes;
ALTER TABLE user_profiles
  ADD COLUMN failed_login_attempts integer DEFAULT 0 NOT NULL,
  ADD COLUMN account_locked_until timestamptz,
  ADD COLUMN password_reset_token varchar(255),
  ADD COLUMN password_reset_token_expires timestamptz,
  ADD COLUMN last_password_change timestamptz,
  ADD COLUMN email_verified_at timestamptz,
  ADD COLUMN auth_provider varchar(50),
  ADD COLUMN external_id varchar(255),
  ALTER COLUMN email_verification_token TYPE varchar(255),
  ALTER COLUMN email_verified SET DEFAULT false,
  ALTER COLUMN mfa_backup_codes DROP NOT NULL;
