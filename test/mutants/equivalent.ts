import type { Mutant } from './mutations';

/** Mutants that no test can kill, and why: the line as it is, what it becomes. */
export const equivalent: readonly (Pick<Mutant, 'line' | 'mutated'> & { readonly reason: string })[] = [];
