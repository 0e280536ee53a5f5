/** What several measurements of the same thing say: the median, and between what the middle half lies. */
export interface Figure {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

export function figure(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    low: quantile(sorted, 0.25),
    high: quantile(sorted, 0.75),
    n: sorted.length,
  };
}

function quantile(sorted: readonly number[], q: number): number {
  const place = (sorted.length - 1) * q;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return Number((below + (above - below) * (place % 1)).toPrecision(3));
}

/** The list begun at another place in each round, so that no tool always runs first, or after the same one. */
export function rotated<T>(list: readonly T[], round: number): T[] {
  const turn = round % list.length;
  return [...list.slice(turn), ...list.slice(0, turn)];
}

/** How many rows, as a reader wants them. */
export const rowCount = (rows: string | number) => Number(rows).toLocaleString('en');
