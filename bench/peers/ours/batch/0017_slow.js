module.exports = require('../../knex-js/batch/0017_slow');
