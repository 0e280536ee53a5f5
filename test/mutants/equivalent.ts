import type { Mutant } from './mutations';

/** Mutants that no test can kill, and why: the line as it is, what it becomes. */
export const equivalent: readonly (Pick<Mutant, 'line' | 'mutated'> & { readonly reason: string })[] = [
  {
    line: 'IF found.type <> wanted.type AND NOT is_told THEN',
    mutated: 'IF found.type <> wanted.type AND is_told THEN',
    reason: 'The second look says it instead: once as well, but behind the lock.',
  },
];
