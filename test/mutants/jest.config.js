const base = require('../../jest.config.js');

/** The tests of rules and states, against the mutant in MUTANT, on the server that run.ts started. */
module.exports = {
  ...base,
  rootDir: '../..',
  testMatch: ['<rootDir>/test/server/*.test.ts'],
  testPathIgnorePatterns: ['client', 'harness', 'migrator', 'plan', 'verify'],
  moduleNameMapper: { '^\\.\\.?/(program/)?program$': '<rootDir>/test/mutants/program.ts' },
  testEnvironment: '<rootDir>/test/mutants/environment.js',
  testSequencer: '<rootDir>/test/mutants/sequencer.js',
  globalSetup: undefined,
  globalTeardown: undefined,
  collectCoverage: false,
  coverageThreshold: undefined,
};
