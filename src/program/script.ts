import type { Change } from '../declaration';
import { policy } from './policy';
import { type Direction, program, tableName } from './program';

/** What the two scripts of a change are called, in each other's headers. */
export type ScriptNames = Readonly<Record<Direction, string>>;

/** The program as an SQL file: one statement, for psql, a GUI or any driver, without meta-commands and variables. */
export function script(change: Change, direction: Direction, names: ScriptNames): string {
  const { columns, rename, id, why, before, upArchive, downArchive, knex, django } = change;
  const table = tableName(change);
  const isUp = direction === 'up';
  const what = [
    columns.length > 0 && `add ${columns.length} columns`,
    rename && `rename ${rename.from} to ${rename.to}`,
  ];
  const run = (way: Direction) => `psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f ${names[way]}`;
  // A title and its texts.
  const paragraphs = [
    isUp && why ? ['Why', why] : [],
    [
      'What',
      isUp
        ? `Adds the columns declared below, and brings those that are there to that shape, where no value is lost and
        no large table rewritten (before PostgreSQL 11 a default does). Otherwise it refuses.${
          rename
            ? ` ${rename.from} keeps its type, loses NOT NULL and its default, and what uses that name fails from
            then on, subscribers included. Both names: old values fill NULLs if ${rename.moveWhere}.`
            : ''
        }`
        : `Brings the table back to the shape that ${names.up} or Knex found. Columns that were there
        stay, with their values. Without ${before} it changes nothing. An application that needs the new columns fails again.`,
    ],
    [
      'Run',
      run(direction),
      `One statement, safe to repeat. All or nothing, but for NULLs of a large table, filled before (with their
      triggers). psql ends with 0 when it is done, with 3 when it was refused or gave up.`,
    ],
    [
      'Rehearse',
      `-c BEGIN -c "SET LOCAL table_change.dry = 'on'" before -f, -c ROLLBACK behind it (psql 9.6 or later): it prints
      what it would send, and locks as a reader does, on a standby too. Without the SET: it does all, with all locks, and
      takes it back.`,
    ],
    isUp ? ['Take back', run('down')] : ['Again', run('up')],
    [
      'Needs',
      `PostgreSQL 9.5 or later (tested on 10 to 18), the primary. The table's owner, or a member of that role (no superuser: its triggers
      would run as one), with CREATE on its schema. No statement_timeout: -c "SET statement_timeout = 0" before -f.`,
    ],
    [
      'Locks',
      `SHARE UPDATE EXCLUSIVE while it looks: everybody works on. Then ACCESS EXCLUSIVE: milliseconds, some 10
      microseconds for each value that is moved, filled, archived or given back; where a column becomes NOT NULL, both
      names exist or columns go, one to three reads of the table; and a partial or expression index or a CHECK over a
      widened column is made anew${isUp ? '' : `; and a table of up to ${policy.rewriteLimit / 1048576} MB, to narrow a column again`}.
      A try stands in line for it for ${policy.lockBudget / 1000} s, while others wait behind: it ends, names the holder, and is repeated for
      ${policy.deadline / 1000} s. Behind the lock one row is updated to itself, with its triggers, however slow, and undone: if that fails it refuses. A synchronous
      standby is waited for afterwards. In your own transaction (BEGIN, psql -1, AUTOCOMMIT off) the locks last until its COMMIT.`,
    ],
    [
      'Keeps',
      isUp
        ? `${before}: the shape before, an empty table, for the way back.${
            rename
              ? ` ${upArchive}: values of ${rename.from} that ${rename.to} did not take, the table owner's alone.`
              : ''
          }`
        : `${downArchive}: the values of columns that go, the table owner's alone. They come back when
        the change is made again.`,
    ],
    [
      'Knex',
      isUp
        ? 'npx knex migrate:latest sends the same: it then finds nothing to do, and is recorded.'
        : `Where Knex has it recorded, it still has, and migrate:latest would do nothing:
        npx knex migrate:down ${knex?.migration ?? 'NAME'} deletes the record.`,
    ],
    isUp && django ? ['Django', `python manage.py migrate ${django.app} ${django.migration} --fake`] : [],
    [
      'Contents',
      '1. table; 2. first lock; 3. look, decide; 4. try a write; 5. refuse; 6. work; 7. steps; 8. send',
    ],
  ];
  return [
    `-- ${table}: ${isUp ? `${what.filter(Boolean).join(', ')} (change ${id})` : `take back change ${id}`}`,
    ...paragraphs.flatMap(paragraph),
    program(change, direction),
  ].join('\n');
}

/** As lines of comment; each text starts a line. */
function paragraph([title = '', ...texts]: readonly string[]): string[] {
  return texts
    .flatMap((text) => text.replace(/\s+/g, ' ').match(/.{1,97}(?= |$)/g) ?? [])
    .map((line, i) => `-- ${(i === 0 ? title : '').padEnd(10)}${line.trim()}`);
}
