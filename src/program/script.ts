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
  const asked = program(change, direction, {}, { declarations: waits, body: loop });
  return `${header(change, direction, names)}

${asked};

-- The report: a row a column.${report(change, direction)};
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
  hint    pg_catalog.text;`;

function loop(tried: string): string {
  return `\
  LOOP
    BEGIN
      -- The program: one try. It leaves the whole change behind, or nothing.
      ${indent(tried, 6)};
      RAISE NOTICE '%', pg_catalog.current_setting('table_change.said');
      EXIT;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      GET STACKED DIAGNOSTICS
        message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      sleep := least(longest_sleep, first_sleep * 2 ^ least(tries, 20)) * (1 + jitter * (2 * random() - 1));
      tries := tries + 1;
      IF clock_timestamp() + sleep > started + deadline THEN
        RAISE EXCEPTION USING
          ERRCODE = 'lock_not_available',
          MESSAGE = message,
          DETAIL = detail,
          HINT = format('%s Given up after %s tries; nothing has changed, and nothing is locked. '
                        'To wait longer, change "deadline" at the top.', hint, tries);
      END IF;
      RAISE NOTICE '%. Try %; the next one in % s. %',
        message, tries, round(extract(epoch FROM sleep)::numeric, 1), detail;
      PERFORM pg_sleep(extract(epoch FROM sleep));
      PERFORM set_config('search_path', path, true);
    END;
  END LOOP;
EXCEPTION WHEN query_canceled THEN
  RAISE EXCEPTION USING
    ERRCODE = 'query_canceled',
    MESSAGE = SQLERRM,
    HINT = 'Nothing has changed. If it was statement_timeout: SET statement_timeout = 0; then run it again.';`;
}

function header(change: Change, direction: Direction, names: ScriptNames): string {
  const { columns, rename, id, why, before, downArchive, upArchive, django } = change;
  const table = tableName(change);
  const what = [
    ...(columns.length > 0 ? [`add ${columns.length} columns`] : []),
    ...(rename ? [`rename ${rename.from} to ${rename.to}`] : []),
  ].join(', ');
  const run = (way: Direction) => `psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f ${names[way]}`;
  const isUp = direction === 'up';
  const paragraphs: readonly (readonly [title: string, ...texts: string[]])[] = [
    ...(isUp && why ? [['Why', why] as const] : []),
    [
      'What',
      isUp
        ? `Adds the columns below, and brings those that are there already to the declared shape, where that
        loses no value and rewrites no table. Otherwise it refuses: it says why and what to do, and changes
        nothing. For the way back it keeps the shape before, as an empty table, ${before}${
          rename ? `, and old values that differ from new ones in ${upArchive}` : ''
        }: the owner's alone.`
        : `Brings ${table} back to the shape that ${names.up} or Knex found. It is kept in ${before}; without
        that table nothing is changed. Columns that were there before stay, with their values. Values of
        columns that go are kept in ${downArchive}, and come back when the change is made again.`,
    ],
    [
      'Run',
      run(direction),
      `Or open it in any client and execute it as a whole. All or nothing, and safe to repeat. psql's exit code is
      0 when it is done, and 3 when it was refused or has given up, with nothing changed. To see what it would do:
      -c BEGIN before -f, and -c ROLLBACK behind it.`,
    ],
    ['Check', 'It ends with a report, a row a column. A second run says "nothing to do".'],
    isUp ? ['Take back', run('down')] : ['Again', run('up')],
    [
      'Needs',
      `PostgreSQL 9.5 or later, the primary. The table's owner, or a member of that role, with CREATE on the table's
      schema. READ COMMITTED, the server's own default. The table is looked up on the search_path. A
      statement_timeout would end it, with nothing changed: -c 'SET statement_timeout = 0' before -f.`,
    ],
    [
      'Locks',
      `It prepares while everybody reads and writes. Then others wait for as long as the server needs for the work
      itself. It does not stand in their way to get there: a try that meets a long transaction gives up, says who
      holds the table, and is repeated. In a transaction of your own (BEGIN, psql -1) the locks last until your
      COMMIT. Where many rows have values to archive or to get back, that is a second and more: Knex does it
      outside of the lock, in transactions of its own, and a script has one.`,
    ],
    [
      'Knex',
      isUp
        ? `npx knex migrate:latest sends the same program. Afterwards it finds nothing left to do, and records
        the migration as made.`
        : `npx knex migrate:down sends the same program. Where Knex has recorded the migration, run it
        afterwards: it finds nothing left to do and deletes the record, with which migrate:latest would do
        nothing.`,
    ],
    ...(isUp && django
      ? [
          [
            'Django',
            `python manage.py migrate ${django.app} ${django.migration} --fake`,
            "It records Django's own migration, which says the same.",
          ] as const,
        ]
      : []),
  ];
  return `\
-- ${table}: ${isUp ? what : `take back change ${id} (${what})`}
--
${paragraphs.flatMap(paragraph).join('\n')}
--
${columnTable(change)}
--
-- In this file, in this order:
--
--   How long all tries wait, and how long one: the numbers that somebody may want to change
--   1. Why the change cannot be made here (refusals)
--   2. What is to be locked, and who holds it (relations, holders)
--   3. to 5. What is found, what is wanted, and the steps from the one to the other (rules): one SELECT, the heart
--   1. to 9. The program: a loop of tries, and what is done in one try
--   The report
--
-- Rendered from the declaration with "npm run script": change that, and not this file.`;
}

/** A title and its texts as lines of comment; each text starts a line. */
function paragraph([title, ...texts]: readonly [title: string, ...texts: string[]]): string[] {
  return texts
    .flatMap((text) => text.replace(/\s+/g, ' ').match(/.{1,104}(?= |$)/g) ?? [])
    .map((line, i) => `-- ${(i === 0 ? title : '').padEnd(10)}${line.trim()}`);
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
    .join('\n');
}
