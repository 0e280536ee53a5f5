const { writeFileSync } = require('node:fs');
const { TestEnvironment } = require('jest-environment-node');

/** Ends the run at the first failure, and leaves word of the file: Jest would go through the rest of it. */
module.exports = class extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    this.path = context.testPath;
  }

  handleTestEvent({ name }) {
    if (name !== 'test_fn_failure' && name !== 'hook_failure') return;
    writeFileSync(process.env.KILLER, this.path);
    process.exit(1);
  }
};
