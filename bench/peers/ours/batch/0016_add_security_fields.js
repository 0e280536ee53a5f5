module.exports = require('../../../../dist/migrations/0016_add_security_fields');
