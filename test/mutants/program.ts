import * as real from '../../src/program/program';
import { type Mutant, withMutant } from './mutations';

// Stands in for src/program/program (jest.config.js beside this file): the same program, with the mutant in it.
const mutant = JSON.parse(process.env['MUTANT'] ?? '') as Mutant;

export * from '../../src/program/program';
export const program: typeof real.program = (...args) => withMutant(real.program(...args), mutant);
