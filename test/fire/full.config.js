process.env['FIRE'] = 'full';
module.exports = { ...require('./jest.config.js'), testTimeout: 3_600_000 };
