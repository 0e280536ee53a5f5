const { join } = require('node:path');

/** Under load and under fire: `npm run test:fire` with small numbers, `npm run test:fire:full` with all of them. */
module.exports = {
  ...require('../../jest.config.js'),
  rootDir: join(__dirname, '../..'),
  testMatch: ['<rootDir>/test/fire/**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/'],
  // One for each core: what a server waits for is looked at here.
  maxWorkers: '100%',
};
