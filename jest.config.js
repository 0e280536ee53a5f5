/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // npm run test:fire
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/fire/'],
  transform: { '\\.ts$': 'ts-jest' },
  globalSetup: '<rootDir>/test/support/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/global-teardown.ts',
  testTimeout: 30_000,
  collectCoverageFrom: ['src/**/*.ts', 'migrations/*.ts'],
};
