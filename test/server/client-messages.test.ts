import { plan, rehearse, verify } from '../../migrations/0016_add_security_fields';
import { databasePerTest } from '../support/database';
import { knexFor } from '../support/knex';
import { functions, scripts } from '../support/routes';

// What is said does not depend on what the role or the database lets the server say.
const here = databasePerTest('0015');

async function looked() {
  const knex = await knexFor(here().url);
  try {
    const { steps } = await plan(knex);
    const { said } = await rehearse(knex);
    const { asDeclared, left, columns } = await verify(knex);
    return { steps, said, asDeclared, left, differs: columns.flatMap(({ differs }) => differs) };
  } finally {
    await knex.destroy();
  }
}

test.each(['error', 'debug5'])(
  'client_min_messages = %s: plan, rehearse, verify and latest',
  async (level) => {
    const { admin, owner } = here();
    const before = await looked();
    expect(before).toMatchObject({
      asDeclared: false,
      steps: expect.arrayContaining([expect.stringContaining('RENAME')]),
    });
    await admin.query(`ALTER ROLE ${owner} SET client_min_messages = ${level}`);
    expect(await looked()).toEqual(before);
    expect(await functions.up(here())).toEqual(before.said);
    expect(await looked()).toMatchObject({ asDeclared: true, steps: [], left: [] });
  },
);

test('client_min_messages = error: the script', async () => {
  await here().client.query('SET client_min_messages = error');
  expect((await scripts.up(here())).join()).toContain('ADD COLUMN failed_login_attempts');
  expect(await scripts.up(here())).toEqual(['user_profiles: nothing to do']);
});
