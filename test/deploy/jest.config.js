const { join } = require('node:path');

/** What reaches production: `npm run test:deploy`. It packs, builds and installs, so it takes minutes. */
module.exports = {
  ...require('../../jest.config.js'),
  rootDir: join(__dirname, '../..'),
  testMatch: ['<rootDir>/test/deploy/**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/'],
};
