/**
 * How long the program waits, in milliseconds, and how much it rewrites. The only place with these numbers:
 * Knex's way follows them and `sql/*.sql` are rendered with them.
 *
 * Worst case for anybody else: within one try a statement of the application waits `lockBudget` for us in
 * line and then as long as the work takes. SHARE UPDATE EXCLUSIVE, taken first, makes no reader and no
 * writer wait, however long we stand in line for it.
 */
export const policy = {
  /**
   * All waits of one try for ACCESS EXCLUSIVE, on the table and its partitions, added up. Below deadlock_timeout (1 s), so that we
   * give way before the server kills anybody.
   */
  lockBudget: 200,
  /**
   * Beyond deadlock_timeout, for SHARE UPDATE EXCLUSIVE: an autovacuum worker gives way to whoever waits for
   * that long (PostgreSQL manual, "Automatic Vacuuming"), and to nobody else.
   */
  patienceWithAutovacuum: 500,
  /** Sleep after the first failed try; doubles with every further one. */
  firstSleep: 250,
  longestSleep: 2_000,
  /** A sleep is made longer or shorter by up to this share, so that two in step fall out of step. */
  jitter: 0.25,
  /** No new try starts later than this after the first; MIGRATION_LOCK_DEADLINE in seconds overrides it. */
  deadline: 120_000,
  /** Longest wait for a second connection; without one the program runs on the first. */
  secondConnection: 5_000,
  /** How often the server is asked for an answer while a try runs, and how long the network may then be silent before it counts as cut. */
  pulse: 1_000,
  silence: 15_000,
  /** How often an interrupted program is cancelled, until it ends. */
  cancelAgain: 250,
  /** How many rows are filled at a time before the lock, in a transaction that locks nothing but these rows. */
  batch: 2_000,
  /** Up to this size, in bytes, NULLs are filled all at once: behind the lock of the change. */
  batchFrom: 256 * 1024,
  /** Up to this size a table is rewritten to make a column as narrow as it was. In bytes, 1 MB more a partition. */
  rewriteLimit: 16 * 1024 * 1024,
} as const;
