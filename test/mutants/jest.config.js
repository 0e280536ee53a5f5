const base = require('../../jest.config.js');

/** The tests of rules and states, against the mutant in MUTANT, on the server in TEST_SERVER_URL. */
module.exports = {
  ...base,
  rootDir: '../..',
  testMatch: ['<rootDir>/test/server/*.test.ts'],
  testPathIgnorePatterns: ['citus', 'embedded', 'harness', 'plan', 'verify'],
  moduleNameMapper: { '^\\./(program/)?program$': '<rootDir>/test/mutants/program.ts' },
  globalSetup: undefined,
  globalTeardown: undefined,
  collectCoverage: false,
  coverageThreshold: undefined,
  bail: 1,
  testTimeout: 20_000,
};
