/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // npm run test:fire, npm run test:deploy
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/fire/', '<rootDir>/test/deploy/'],
  transform: { '\\.ts$': 'ts-jest' },
  globalSetup: '<rootDir>/test/support/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/global-teardown.ts',
  testTimeout: 30_000,
  // Jest would leave one of two cores to whatever else is going on.
  maxWorkers: '100%',
  collectCoverageFrom: ['src/**/*.ts', '!**/*.d.ts', 'migrations/*.ts'],
};
