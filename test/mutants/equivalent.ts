import type { Mutant } from './mutations';

/** Mutants that no test can kill, and why: the line as it is, what it becomes. */
export const equivalent: readonly (Pick<Mutant, 'line' | 'mutated'> & { readonly reason: string })[] = [
  {
    line: 'AND coalesce(a.xact_start < asked, true)',
    mutated: 'AND coalesce(a.xact_start <= asked, true)',
    reason: 'two moments in microseconds, on two connections',
  },
  {
    line: 'JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped',
    mutated: 'JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum >= 0 AND NOT a.attisdropped',
    reason: 'no attribute has the number 0',
  },
  {
    line: "WHEN f.type = 'smallint' THEN 2",
    mutated: '',
    reason: 'nothing is narrower than a smallint, so its width is never compared with success',
  },
  {
    line: "WHEN w.type = 'bigint' THEN 8 END",
    mutated: "WHEN w.type <> 'bigint' THEN 8 END",
    reason: 'nothing is wider than a bigint, so its width is never compared with success',
  },
  {
    line: 'WHERE batches.allowed AND this.bytes > 262144 AND this.key IS NOT NULL AND NOT this.forced',
    mutated: 'WHERE batches.allowed AND this.bytes >= 262144 AND this.key IS NOT NULL AND NOT this.forced',
    reason: 'a table of exactly that size may go either way',
  },
];
