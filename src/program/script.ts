import type { Change } from '../declaration';
import type { Direction } from './look';
import { policy } from './policy';
import { program } from './program';
import { report } from './report';
import { tableName } from './table';
import { indent } from './text';

/** What the two scripts of a change are called, in each other's headers. */
export type ScriptNames = Readonly<Record<Direction, string>>;

/**
 * The same program as one SQL file, with the loop of tries inside: for psql, a GUI or any driver. It has no
 * psql meta-commands and no variables.
 */
export function script(change: Change, direction: Direction, names: ScriptNames): string {
  const asked = program(change, direction, false, { declarations: waits, loop });
  return `${header(change, direction, names)}

${asked};

-- What there is now: a row a column.${report(change, direction)};
`;
}

/** Declared at the top, where a reader changes them. */
const waits = `
  -- How long all tries wait.
  deadline      CONSTANT pg_catalog.interval := '${policy.deadline / 1000} s'; -- no new try later than this
  first_sleep   CONSTANT pg_catalog.interval := '${policy.firstSleep} ms'; -- after a failed try; doubles with every further one
  longest_sleep CONSTANT pg_catalog.interval := '${policy.longestSleep} ms';
  jitter        CONSTANT pg_catalog.float8 := ${policy.jitter}; -- a sleep is longer or shorter by up to this share

  path    CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  started CONSTANT pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  tries   pg_catalog.int4 := 0;
  sleep   pg_catalog.interval;
  message pg_catalog.text;
  detail  pg_catalog.text;
  hint    pg_catalog.text;
`;

function loop(tried: string): string {
  return `\
LOOP
  BEGIN
    ${indent(tried, 4)};
    EXIT;
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    GET STACKED DIAGNOSTICS
      message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    sleep := least(longest_sleep, first_sleep * 2 ^ tries) * (1 + jitter * (2 * random() - 1));
    tries := tries + 1;
    IF clock_timestamp() + sleep > started + deadline THEN
      RAISE EXCEPTION USING
        ERRCODE = 'lock_not_available',
        MESSAGE = message,
        DETAIL = detail,
        HINT = format('%s Given up after %s tries; nothing has changed, and nothing is locked. '
                      'To wait longer, change "deadline" at the top.', hint, tries);
    END IF;
    RAISE NOTICE '%. % Try %; the next one in % s.',
      message, detail, tries, round(extract(epoch FROM sleep)::numeric, 1);
    PERFORM pg_sleep(extract(epoch FROM sleep));
    PERFORM set_config('search_path', path, true);
  END;
END LOOP`;
}

function header(change: Change, direction: Direction, names: ScriptNames): string {
  const { columns, rename, id, why, before } = change;
  const table = tableName(change);
  const what = [
    ...(columns.length > 0 ? [`add ${columns.length} columns`] : []),
    ...(rename ? [`rename ${rename.from} to ${rename.to}`] : []),
  ].join(', ');
  const other = names[direction === 'up' ? 'down' : 'up'];
  const run = (name: string) => `psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f ${name}`;
  const paragraphs: Readonly<Record<string, string>> = {
    ...(direction === 'up'
      ? {
          Why: why,
          What: `Adds the columns below, and brings those that exist already to the declared shape where that
            loses no value and rewrites no table. Otherwise it refuses: it says why and what to do, and
            changes nothing.`,
        }
      : {
          What: `Brings ${table} back to the shape that ${other} found, which is kept in the table
            ${before}. Columns that were there before stay, with their values. Values of columns
            that are dropped go to ${change.downArchive}, and come back when the
            change is made again. Without ${before} it changes nothing.`,
        }),
    Run: `${run(names[direction])}
            or open it in any client and execute it as a whole. It is safe to repeat. With psql's exit code 0
            it is done; with 3 it was refused or has given up, and nothing has changed.`,
    Check: `It ends with a report, a row a column. A second run says "nothing to ${direction === 'up' ? 'do' : 'take back'}".`,
    [direction === 'up' ? 'Take back' : 'Again']: run(other),
    Needs: `PostgreSQL 9.5 or later, the primary; a role that is the table's owner or a member of it, with CREATE
            on the table's schema; READ COMMITTED, the server's own default. The table is looked up on the
            search_path. A statement_timeout ends it early, with nothing changed: SET statement_timeout = 0.`,
    Locks: `It prepares while others read and write. Then it locks them out for as long as the server needs for the
            work itself. It does not queue for that: a try that meets a long transaction gives way, says who
            holds the table, and is repeated. In a transaction of your own (BEGIN, psql -1) the locks last until
            your COMMIT.`,
    Knex: `npx knex migrate:${direction === 'up' ? 'latest' : 'down'} sends the same program. Run after this script, it finds nothing left to do
            and ${direction === 'up' ? 'records the migration as made' : 'deletes its record'}.`,
  };
  return `\
-- ${table}: ${direction === 'up' ? what : `take back change ${id} (${what})`}
--
${Object.entries(paragraphs)
  .map(([title, text]) => `-- ${title.padEnd(10)}${text.replace(/\n\s*/g, '\n--           ')}\n`)
  .join('')}\
--
${columnTable(change)}\
--
-- In this file, in this order:
--
--   The waits            how long all tries wait, and one: the numbers that somebody may want to change
--   1. refusals          why the change cannot be made here, or not by this role
--   2. relations         what is to be locked
--      holders           who is in the way
--   3. to 5. rules       what is found, what is wanted, and the steps from the one to the other: the heart
--   BEGIN                the program, which carries out the steps: paragraphs 1. to 9.
--   The report
--
-- Rendered from the declaration with "npm run script": change that, and not this file.`;
}

/** The declared columns, a line each. */
function columnTable({ columns, rename }: Change): string {
  const rows = [
    ['Column', 'Type', 'Null', 'Default'],
    ...columns.map((c) => [c.name, c.type, c.notNull ? 'no' : 'yes', c.default ?? '']),
    ...(rename ? [[rename.to, `as ${rename.from} (or ${rename.type}, where there is none)`, 'yes', '']] : []),
  ];
  const widths = [0, 1, 2].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) => `--   ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}
