const { availableParallelism } = require('node:os');

/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // npm run test:fire, npm run test:deploy
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/fire/', '<rootDir>/test/deploy/'],
  transform: { '\\.ts$': 'ts-jest' },
  globalSetup: '<rootDir>/test/support/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/global-teardown.ts',
  // For hangs: a slow machine is no failure.
  testTimeout: 300_000,
  // Two for each core: half of the time a test waits, for its server or because that is what it is about.
  maxWorkers: 2 * availableParallelism(),
  // Commands run as processes of their own, which Jest cannot look into; test/cli runs each.
  collectCoverageFrom: ['src/**/*.ts', '!**/*.d.ts', '!src/commands/**', 'migrations/*.ts'],
  coverageReporters: ['text-summary'],
  coverageThreshold: { global: { lines: 95, branches: 90 } },
};
