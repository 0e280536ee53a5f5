import { checked, type Declaration } from '../../src/declaration';
import { policy } from '../../src/program/policy';
import { program } from '../../src/program/program';
import { type Direction, tableChange } from '../../src/table-change';
import { loadProfiles } from '../fire/profiles';
import type { TestDatabase } from './database';
import { migrate } from './routes';

/** A change of a table with so many values in the columns concerned that they come and go in batches. */
export const declaration: Declaration = {
  id: '16',
  table: 'user_profiles',
  add: {
    attempts: { type: 'integer', notNull: true, default: '0' },
    token: { type: 'varchar(255)' },
    locked: { type: 'timestamptz' },
  },
};
export const change = tableChange(declaration);
export const people = 6_000;
/** More than two batches, and more than is given back at once. */
export const holders = 2 * policy.batch + 500;
export const archive = 'user_profiles_16_down_archive';

/** What is done with that change in a test's database, and seen of it. */
export function manyValues(here: () => TestDatabase) {
  const digest = async () =>
    (
      await here().client.query(
        "SELECT md5(string_agg(concat_ws('|', id, attempts, token, locked), ';' ORDER BY id)) AS digest FROM user_profiles",
      )
    ).rows[0].digest as string;

  /** Made, with values, and a digest of them. */
  const inUse = async () => {
    const { client, url } = here();
    await loadProfiles(client, people);
    await migrate(url, 'up', change);
    await client.query(
      `UPDATE user_profiles SET attempts = id % 5 + 1, token = rpad('t' || id, 80, 'x'), locked = now() + id * interval '1 s' WHERE id <= ${holders}`,
    );
    return digest();
  };

  /** There and back with values, and a digest of them. */
  const takenBack = async () => {
    const values = await inUse();
    await migrate(here().url, 'down', change);
    return values;
  };

  /** Sends the program once, in one transaction, as `run` does, and gives whether there is more to do. */
  const once = async (direction: Direction = 'up') => {
    const results: unknown = await here().client.query(
      `${program(checked(declaration), direction, { inBatches: true })}; SELECT current_setting('table_change.again') AS again`,
    );
    return (results as { rows: { again: string }[] }[])[1]?.rows[0]?.again === 'true';
  };

  /** By Knex or by the script, to the end. */
  const finish: Readonly<Record<string, (direction: Direction) => Promise<unknown>>> = {
    knex: (direction) => migrate(here().url, direction, change),
    script: (direction) => here().client.query(change.script(direction, { up: 'up.sql', down: 'down.sql' })),
  };

  const columns = async (like: string) =>
    (
      await here().client.query(
        `SELECT attname FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND attname LIKE '${like}' AND NOT attisdropped
       ORDER BY attname`,
      )
    ).rows.map(({ attname }) => attname);

  const count = async (what: string) =>
    (await here().client.query(`SELECT count(*)::int AS n FROM ${what}`)).rows[0].n as number;

  return { digest, inUse, takenBack, once, finish, columns, count };
}
