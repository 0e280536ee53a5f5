/**
 * An error whose message is all that the user needs: what happened, why it matters, what to do next.
 *
 * Knex's command line prints `error.stack` and exits with 1 (knex/bin/utils/cli-config-utils.js), so the
 * stack of such an error is its message.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
  override stack = this.message;
}
