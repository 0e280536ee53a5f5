import { connect } from '../support/database';

/** Milliseconds of the longest read while `work` ran: of the table, and of one that nobody locks, for what the machine does to anybody. */
export interface Reads {
  readonly longest: number;
  readonly elsewhere: number;
}

/** Two readers without a pause, each on a connection of its own, while `work` runs. */
export async function readersDuring<T>(url: string, work: () => Promise<T>): Promise<[T, Reads]> {
  let isOver = false;
  const longest = async (table: string) => {
    const reader = await connect(url);
    let ms = 0;
    try {
      while (!isOver) {
        const begun = performance.now();
        await reader.query(`SELECT 1 FROM ${table} WHERE id = 1`);
        ms = Math.max(ms, performance.now() - begun);
      }
    } finally {
      await reader.end();
    }
    return ms;
  };
  const reads = Promise.all([longest('user_profiles'), longest('auth_user')]);
  try {
    const result = await work();
    isOver = true;
    const [ours, elsewhere] = await reads;
    return [result, { longest: ours, elsewhere }];
  } finally {
    isOver = true;
  }
}
