import type { Outcome } from '../support/knex';
import { testRecovery, underFire } from './disturbed';

// A connection is lost: of the program, of Knex, or both.
const table = underFire();

/** The two backends of a command; `own` sends the program. */
async function terminate(which: 'own' | 'batch') {
  await table().admin.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name LIKE 'add-security-fields%' AND (query LIKE '%$program$%') = $1`,
    [which === 'own'],
  );
}

/** No stack trace, and what to do. */
async function tellsOfTheLoss({ code, stderr }: Outcome): Promise<boolean> {
  if (code === 0) return true;
  expect(stderr).toMatch(/connection was (lost|cut)|the server|Try again in a moment|migrate:unlock/i);
  // Knex wraps what goes wrong while it takes its own lock, and shows a stack of its own.
  expect(stderr).not.toMatch(/^ +at /m);
  return false;
}

testRecovery([
  {
    name: 'its own connection ended by pg_terminate_backend',
    disturb: () => terminate('own'),
    ends: tellsOfTheLoss,
  },
  {
    name: "Knex's connection ended by pg_terminate_backend",
    disturb: () => terminate('batch'),
    ends: tellsOfTheLoss,
  },
  {
    name: 'the server stopped in immediate mode and started again',
    disturb: () => table().restartServer(),
    ends: tellsOfTheLoss,
  },
  {
    name: 'the network cut',
    disturb: async () => table().proxy.cut(),
    ends: tellsOfTheLoss,
    mend: async () => table().proxy.mend(),
  },
  {
    name: 'the network stalled',
    full: 5,
    disturb: async () => table().proxy.stall(),
    ends: tellsOfTheLoss,
    mend: async () => {
      // What the server's keepalive does, later.
      table().proxy.cut();
      table().proxy.mend();
    },
    // Before and after the program it is TCP's keepalive that notices, and a proxy has no part in it.
    moments: ['while it waits for the lock, or sleeps'],
  },
]);
