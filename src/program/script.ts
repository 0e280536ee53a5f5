import type { Change } from '../declaration';
import type { Direction } from './look';
import { policy } from './policy';
import { preamble, program } from './program';
import { report } from './report';
import { indent } from './text';

/** The same program as one SQL file, with the loop of tries inside: for psql, a GUI or any driver. */
export function script(change: Change, direction: Direction): string {
  return `${header(change, direction)}
DO $script$
${preamble}
DECLARE
  -- How long it waits. SHARE UPDATE EXCLUSIVE, which makes no reader or writer wait, and the locks of one try
  -- have limits of their own, further down.
  first_sleep   CONSTANT pg_catalog.interval := '${policy.firstSleep} ms'; -- after the first failed try; doubles with each
  longest_sleep CONSTANT pg_catalog.interval := '${policy.longestSleep} ms';
  jitter        CONSTANT pg_catalog.float8   := ${policy.jitter}; -- a sleep is longer or shorter by up to this share
  deadline      CONSTANT pg_catalog.interval := '${policy.deadline / 1000} s'; -- no new try later than this: make it longer to wait longer

  path    CONSTANT pg_catalog.text        := pg_catalog.current_setting('search_path');
  started CONSTANT pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  tries   pg_catalog.int4 := 0;
  sleep   pg_catalog.interval;
  message pg_catalog.text;
  detail  pg_catalog.text;
  hint    pg_catalog.text;
BEGIN
  LOOP
    BEGIN
      -- One try. It leaves the whole change behind, or nothing.
      ${indent(program(change, direction).trim(), 6)};
      EXIT;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      sleep := least(longest_sleep, first_sleep * 2 ^ tries) * (1 + jitter * (2 * random() - 1));
      tries := tries + 1;
      IF clock_timestamp() + sleep > started + deadline THEN
        RAISE EXCEPTION USING
          ERRCODE = 'lock_not_available',
          MESSAGE = message,
          DETAIL = detail,
          HINT = format('%s Given up after %s tries; nothing has changed, and nothing is locked. To wait longer, change "deadline" at the top of this block.', hint, tries);
      END IF;
      RAISE NOTICE '%. % Try %; the next one in % s.', message, detail, tries, round(extract(epoch FROM sleep)::numeric, 1);
      PERFORM pg_sleep(extract(epoch FROM sleep));
      PERFORM set_config('search_path', path, true);
    END;
  END LOOP;
END
$script$;

-- What there is now, a row a column.${report(change)};
`;
}

function header(change: Change, direction: Direction): string {
  return `-- ${direction} ${change.table}`;
}
