import { freshDatabase, loadState, type State } from '../support/database';
import { knexCommand, knexFor } from '../support/knex';

test.each<State>(['0015', '0015-described', 'both-names', 'repaired-by-hand'])(
  'state %s loads',
  async (state) => {
    const database = await freshDatabase();
    await loadState(database.client, state);
    const { rows } = await database.client.query('SELECT count(*)::int AS n FROM user_profiles');
    expect(rows[0].n).toBe(20);
    await database.close();
  },
);

test('knex reaches it in this process and by the command line', async () => {
  const database = await freshDatabase();
  const knex = await knexFor(database.url);
  expect((await knex.raw('SELECT current_user AS me')).rows[0].me).toBe(database.owner);
  await knex.destroy();
  const { code, stdout, stderr } = await knexCommand(['migrate:list'], { DATABASE_URL: database.url });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('0016_add_security_fields\n');
  await database.close();
});
