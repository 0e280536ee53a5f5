// Any other migration of the release: five seconds, and nothing to do with user_profiles.
exports.up = (knex) => knex.raw('SELECT pg_sleep(5)');
exports.down = async () => undefined;
