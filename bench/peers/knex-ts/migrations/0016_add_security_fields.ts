import type { Knex } from 'knex';

// bench/peers/knex-js in TypeScript.

export const up = (knex: Knex) =>
  knex.schema.alterTable('user_profiles', (table) => {
    table.integer('failed_login_attempts').notNullable().defaultTo(0);
    table.timestamp('account_locked_until');
    table.string('password_reset_token', 255);
    table.timestamp('password_reset_token_expires');
    table.timestamp('last_password_change');
    table.timestamp('email_verified_at');
    table.string('auth_provider', 50);
    table.string('external_id', 255);
    table.string('email_verification_token', 255).alter({ alterNullable: false });
    table.boolean('email_verified').defaultTo(false).alter({ alterNullable: false, alterType: false });
    table.renameColumn('backup_codes', 'mfa_backup_codes');
    table.setNullable('mfa_backup_codes');
  });

export const down = (knex: Knex) =>
  knex.schema.alterTable('user_profiles', (table) => {
    table.dropNullable('mfa_backup_codes');
    table.renameColumn('mfa_backup_codes', 'backup_codes');
    table.boolean('email_verified').alter({ alterNullable: false, alterType: false });
    table.string('email_verification_token', 100).alter({ alterNullable: false });
    table.dropColumns(
      'failed_login_attempts',
      'account_locked_until',
      'password_reset_token',
      'password_reset_token_expires',
      'last_password_change',
      'email_verified_at',
      'auth_provider',
      'external_id',
    );
  });
