module.exports = { ...require('./knexfile'), migrations: { directory: './batch' } };
