module.exports = require('../migrations/0016_add-security-fields');
