import type { Client } from 'pg';
import { declaredShape, shapeOf } from '../support/application';
import { dataOf, schemaOf } from '../support/catalog';
import { databasePerTest, loadState, type State } from '../support/database';
import { commandLine, scripts } from '../support/routes';

// What mfa_backup_codes is afterwards: a rename keeps the type, the repair with both names had made it text.
const states: Record<State, string> = {
  '0015': 'jsonb',
  '0015-described': 'jsonb',
  'both-names': 'text',
  'repaired-by-hand': 'jsonb',
};

const here = databasePerTest();

test.each(Object.entries(states) as [State, string][])(
  'state %s goes by both routes to the declared shape and back to the very same schema and data',
  async (state, typeOfCodes) => {
    const database = here();
    const { client } = database;
    await loadState(client, state);
    const schemaBefore = await schemaOf(client);
    const dataBefore = await dataAfterMoves(client, state);
    const after: { schema: string[]; data: Record<string, string[]> }[] = [];

    for (const [there, back] of [
      [commandLine, scripts],
      [scripts, commandLine],
    ] as const) {
      await there.up(database);
      expect(await shapeOf(client)).toEqual({ ...declaredShape, mfa_backup_codes: typeOfCodes });
      after.push({ schema: await schemaOf(client), data: await dataOf(client) });
      expect(await scripts.up(database)).toEqual(['user_profiles: nothing to do']);

      await back.down(database);
      expect(await schemaOf(client)).toEqual(schemaBefore);
      expect(await dataOf(client)).toEqual(dataBefore);
    }
    expect(after[1]).toEqual(after[0]);
  },
);

/** The data as it is, but codes that `up` moves under the new name stay there: whoever has them may spend them. */
async function dataAfterMoves(client: Client, state: State): Promise<Record<string, string[]>> {
  if (state !== 'both-names') return dataOf(client);
  await client.query('BEGIN');
  await client.query(
    'UPDATE user_profiles SET mfa_backup_codes = backup_codes WHERE mfa_enabled AND mfa_backup_codes IS NULL',
  );
  const data = await dataOf(client);
  await client.query('ROLLBACK');
  return data;
}
