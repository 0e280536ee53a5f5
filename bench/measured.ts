import { cpus, totalmem } from 'node:os';
import type { CommandFigures } from './measure/command';
import type { FiguresByKey } from './measure/context';
import type { DelayFigures } from './measure/delay';
import type { WaitFigures } from './measure/waits';
import type { WayBackFigures } from './measure/way-back';

/** What bench/results.json holds (a module of that name would be mistaken for it). Figures are by the id of the tool. */
export interface Results extends DelayFigures {
  readonly machine: string;
  /** Its load average before: with other work on it every time is longer, for all tools alike. */
  readonly load: number;
  readonly versions: Readonly<Record<string, string>>;
  /** Of the PostgreSQL server; the others are as it comes. */
  readonly settings: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Milliseconds between two looks at pg_locks. */
  readonly resolution: number;
  /** 1,000 rows. */
  readonly command: Record<string, CommandFigures>;
  readonly lockByRows: FiguresByKey;
  readonly lockByStandby: FiguresByKey;
  readonly waits: {
    readonly underLoad: WaitFigures;
    readonly behindTransaction: WaitFigures;
    readonly batch: WaitFigures;
  };
  readonly wayBack: Record<string, WayBackFigures>;
}

export function machine(): string {
  const [first] = cpus();
  return `${cpus().length} cores (${first?.model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GB of memory, ${process.platform}`;
}
