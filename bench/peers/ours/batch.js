const { join } = require('node:path');
const { default: knexConfig } = require('../../../dist/knexfile');
const { MigrationSource } = require('../../../dist/src/migration-source');

module.exports = async () => ({
  ...(await knexConfig()),
  migrations: { migrationSource: new MigrationSource(join(__dirname, 'batch')) },
});
