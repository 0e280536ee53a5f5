import type { Client } from 'pg';
import { connect } from '../test/support/database';

/** Milliseconds; times are the server's, since 1970. */
export interface Span {
  readonly from: number;
  readonly to: number;
  /** When it was seen for the first and for the last time. */
  readonly seen: { readonly first: number; readonly last: number };
}

export interface Watched {
  /** When somebody had ACCESS EXCLUSIVE: readers and writers were blocked. */
  readonly readersBlocked: readonly Span[];
  /** When somebody had that or another lock that keeps writers out. */
  readonly writersBlocked: readonly Span[];
}

/**
 * Looks at pg_locks again and again, inside the server, from another database: it takes no lock that anybody waits
 * for. A lock began or ended in the middle between two looks.
 */
export class Watcher {
  /** The mean time between two looks, in milliseconds, the last time. */
  resolution = 0;

  private constructor(
    private readonly client: Client,
    private readonly control: Client,
  ) {}

  static async connect(serverUrl: string): Promise<Watcher> {
    const [client, control] = await Promise.all([connect(serverUrl), connect(serverUrl)]);
    await client.query(watch);
    return new Watcher(client, control);
  }

  /** What happened to the locks on a table while `work` ran. */
  async during<T>(oids: { database: number; table: number }, work: () => Promise<T>): Promise<[T, Watched]> {
    const watching = new Promise((resolve) => this.client.once('notice', resolve));
    const rows = this.client.query('SELECT * FROM pg_temp.watch($1, $2)', [oids.database, oids.table]);
    await watching;
    try {
      const result = await work();
      await this.control.query(`SELECT pg_advisory_lock(${stop})`);
      const changes: Change[] = (await rows).rows;
      this.resolution = changes.at(-1)?.resolution ?? 0;
      return [
        result,
        { readersBlocked: spans(changes, 'readers'), writersBlocked: spans(changes, 'writers') },
      ];
    } finally {
      await this.control.query('SELECT pg_advisory_unlock_all()');
    }
  }

  /** What is added to performance.now() to get the server's time. */
  async clock(): Promise<number> {
    const asked = performance.now();
    const { rows } = await this.control.query(
      'SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now',
    );
    return rows[0].now - (asked + performance.now()) / 2;
  }

  async close(): Promise<void> {
    await Promise.all([this.client.end(), this.control.end()]);
  }
}

/** Between these two looks it became so. */
interface Change {
  readonly earlier: number;
  readonly later: number;
  readonly readers: boolean;
  readonly writers: boolean;
  readonly resolution: number;
}

function spans(changes: readonly Change[], who: 'readers' | 'writers'): Span[] {
  const found: Span[] = [];
  let began: Change | undefined;
  for (const change of changes) {
    if (change[who]) began ??= change;
    else if (began) {
      found.push({
        from: (began.earlier + began.later) / 2,
        to: (change.earlier + change.later) / 2,
        seen: { first: began.later, last: change.earlier },
      });
      began = undefined;
    }
  }
  return found;
}

/** The sum, in milliseconds. */
export function total(spans: readonly Span[]): number {
  return spans.reduce((sum, { from, to }) => sum + to - from, 0);
}

const stop = 4_711;

const watch = `
CREATE FUNCTION pg_temp.watch(watched_database oid, watched_table oid)
RETURNS TABLE (earlier float8, later float8, readers boolean, writers boolean, resolution float8) LANGUAGE plpgsql AS $$
DECLARE
  began CONSTANT timestamptz := clock_timestamp();
  looks integer := 0;
  before timestamptz := began;
  now_at timestamptz;
  found record;
BEGIN
  RAISE NOTICE 'watching';
  readers := false;
  writers := false;
  LOOP
    SELECT coalesce(bool_or(database = watched_database AND relation = watched_table AND mode = 'AccessExclusiveLock'), false) AS readers,
           coalesce(bool_or(database = watched_database AND relation = watched_table
                            AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')), false) AS writers,
           coalesce(bool_or(locktype = 'advisory' AND objid = ${stop}), false) AS stop
    INTO found FROM pg_locks WHERE granted;
    now_at := clock_timestamp();
    looks := looks + 1;
    IF found.readers <> readers OR found.writers <> writers OR found.stop THEN
      earlier := extract(epoch FROM before) * 1000;
      later := extract(epoch FROM now_at) * 1000;
      readers := found.readers;
      writers := found.writers;
      resolution := extract(epoch FROM now_at - began) * 1000 / looks;
      RETURN NEXT;
      EXIT WHEN found.stop;
    END IF;
    before := now_at;
  END LOOP;
END $$`;
