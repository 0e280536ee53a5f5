import { tableChange } from '../../src/table-change';
import { expectRefusal } from '../support/catalog';
import { databasePerTest } from '../support/database';
import { functions, migrate } from '../support/routes';

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

test("a step that somebody's event trigger undoes, where the step has a condition", async () => {
  await functions.up(here());
  await here().admin.query(`
    CREATE FUNCTION widen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
      IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.user_profiles'::regclass
                 AND attname = 'email_verification_token' AND atttypmod = 104) THEN
        ALTER TABLE public.user_profiles ALTER email_verification_token TYPE varchar(255);
      END IF;
    END $$;
    CREATE EVENT TRIGGER widen ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE PROCEDURE widen()`);
  await expectRefusal(
    here().client,
    () => functions.down(here()),
    new RegExp(`${left}ALTER TABLE .* ALTER COLUMN email_verification_token TYPE character varying\\(100\\)`),
  );
});
