import { tableChange } from '../../src/table-change';
import { expectRefusal } from '../support/catalog';
import { databasePerTest } from '../support/database';
import { migrate } from '../support/routes';

// After its steps the program looks again: what is left to do is an error, and nothing has changed.
const here = databasePerTest('0015');

const left = '^user_profiles is left as it was: after all steps there would still be to do: ';

test('a default that the server prints in other words', async () => {
  const add = { flag: { type: 'boolean', notNull: true, default: "'f'" } } as const;
  const change = tableChange({ id: '16', table: 'user_profiles', add });
  await expectRefusal(
    here().client,
    () => migrate(here().url, 'up', change),
    new RegExp(
      `${left}ALTER TABLE public\\.user_profiles\n  ALTER COLUMN flag SET DEFAULT 'f'\nIf it is a default, declare it as the server prints it\\.`,
    ),
  );
});
