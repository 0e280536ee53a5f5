module.exports = require('../migrations/0016_add_security_fields');
