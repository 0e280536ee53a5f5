import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { freshDatabase, loadState, serverVersion, type TestDatabase } from '../support/database';
import { knexCommand, project, projectCommand } from '../support/knex';
import { functions, scripts } from '../support/routes';

// Somebody who may create objects where names are looked up tries to have code of his own run.

let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
  await loadState(database.client, 'both-names');
});

afterEach(() => database.close());

/** Every word of the program, and of what is asked beside it. */
const words = [
  'sql/add_security_fields.sql',
  'sql/remove_security_fields.sql',
  'src/run.ts',
  'src/inspect/advice.sql',
  'src/inspect/looking.ts',
]
  .map((file) => readFileSync(join(project, file), 'utf8'))
  .join()
  .match(/[a-z_][a-z_0-9]+/g);

/** For each of these words that pg_catalog knows, in another schema: a function that fails, an empty table, a type without values. */
const traps = `
CREATE FUNCTION pg_temp.plant(place text, words text[]) RETURNS int LANGUAGE plpgsql AS $do$
DECLARE
  sql text;
  planted int := 0;
BEGIN
  FOR sql IN
    SELECT format('CREATE FUNCTION %s.%I(%s) RETURNS %s LANGUAGE plpgsql AS $$ BEGIN RAISE ''trapped by %s''; END $$',
                  place, proname, pg_get_function_identity_arguments(oid), pg_get_function_result(oid), proname)
    FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (words)
    UNION ALL
    SELECT format('CREATE FUNCTION %1$s.trap_%2$s(%3$s, %4$s) RETURNS %5$s LANGUAGE plpgsql AS $$ BEGIN RAISE ''trapped by %6$s''; END $$;
                   CREATE OPERATOR %1$s.%6$s (LEFTARG = %3$s, RIGHTARG = %4$s, PROCEDURE = %1$s.trap_%2$s)',
                  place, oid, oprleft::regtype, oprright::regtype, oprresult::regtype, oprname)
    FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0 AND oprright <> 0
      AND oprname IN ('=', '<>', '<', '>', '>=', '<=', '||', '->', '->>', '~', '+', '-', '*', '^')
    UNION ALL
    SELECT format('CREATE TABLE %s.%s (oid oid); GRANT SELECT ON %1$s.%2$s TO PUBLIC', place, relname)
    FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') AND relname = ANY (words)
    UNION ALL
    SELECT format('CREATE DOMAIN %s.%I AS pg_catalog.text CHECK (false)', place, typname)
    FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typname = ANY (words)
  LOOP
    BEGIN
      EXECUTE sql;
      planted := planted + 1;
    EXCEPTION WHEN OTHERS THEN
      -- A few cannot be made anew.
    END;
  END LOOP;
  RETURN planted;
END $do$`;

async function plant(place: string) {
  const { admin } = database;
  await admin.query(traps);
  const { rows } = await admin.query('SELECT pg_temp.plant($1, $2) AS planted', [place, words]);
  expect(rows[0].planted).toBeGreaterThan(500);
}

test('a schema before pg_catalog: the program runs as it should, by both routes', async () => {
  const { admin, client, name, owner } = database;
  await admin.query('CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC');
  await plant('trap');
  const path = 'search_path = trap, pg_catalog, public';
  await admin.query(`ALTER ROLE ${owner} IN DATABASE ${name} SET ${path}`);
  await client.query(`SET ${path}`);
  await expect(client.query("SELECT quote_ident('a')")).rejects.toThrow('trapped by quote_ident');
  await functions.up(database);
  await functions.down(database);
  await scripts.up(database);
  await scripts.down(database);
});

// Before 12 information_schema itself, which Knex asks, falls into these traps.
const testWithKnex = serverVersion >= 12 ? test : test.skip;
testWithKnex(
  "the table's own schema, after pg_catalog: a function or operator that would fit better",
  async () => {
    const { admin, client, url } = database;
    // What pg_catalog has with other types only (varchar left out, which Knex compares); PostgreSQL takes the exact match, wherever it is.
    await admin.query(`DO $do$ DECLARE l text; r text; o text; BEGIN
    FOREACH o IN ARRAY '{=,<>,||,~,->,->>}'::text[] LOOP
      FOREACH l IN ARRAY '{name,text,"char",oid,integer,bigint,boolean,regclass,jsonb}'::text[] LOOP
        FOREACH r IN ARRAY '{name,text,"char",oid,integer,bigint,boolean,regclass,jsonb}'::text[] LOOP
          IF NOT EXISTS (SELECT FROM pg_operator WHERE (oprname::text, oprleft::oid, oprright::oid) OPERATOR(pg_catalog.=) (o, l::regtype::oid, r::regtype::oid)) THEN
            EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE ''trapped''; END $$', 'f' || o, l, r);
            EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, PROCEDURE = public.%I)', o, l, r, 'f' || o);
          END IF;
        END LOOP;
      END LOOP;
    END LOOP;
  END $do$`);
    await expect(client.query("SELECT 'a'::name || 'a'::name")).rejects.toThrow('trapped');
    for (const [command, ...args] of [
      ['plan'],
      ['rehearse'],
      ['migrate:latest'],
      ['verify'],
      ['verify', '--role', 'postgres'],
      ['plan', '--down'],
      ['migrate:down'],
    ] as [string, ...string[]][]) {
      const { stderr } = await (command.startsWith('migrate')
        ? knexCommand([command], { DATABASE_URL: url })
        : projectCommand(command, args, { DATABASE_URL: url }));
      expect({ command, stderr }).toEqual({ command, stderr: '' });
    }
  },
);

test('a key of a type that pg_catalog compares as another one, and operators that fit unknown literals better', async () => {
  const { client } = database;
  await client.query(`
    ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey, ALTER id DROP IDENTITY;
    ALTER TABLE user_profiles ALTER id TYPE varchar(20), ADD PRIMARY KEY (id);
    CREATE FUNCTION trap(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
    CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, PROCEDURE = trap);
    CREATE FUNCTION trap(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
    CREATE OPERATOR -> (LEFTARG = jsonb, RIGHTARG = jsonb, PROCEDURE = trap);
    CREATE OPERATOR ->> (LEFTARG = jsonb, RIGHTARG = jsonb, PROCEDURE = trap);
  `);
  await expect(
    client.query('SELECT FROM user_profiles a JOIN user_profiles b ON a.id = b.id'),
  ).rejects.toThrow('trapped');
  await functions.up(database);
  await client.query('UPDATE user_profiles SET external_id = id');
  await functions.down(database);
  await functions.up(database);
  const { rows } = await client.query('SELECT count(external_id)::int AS back FROM user_profiles');
  expect(rows).toEqual([{ back: 20 }]);
});
