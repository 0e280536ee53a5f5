const { TestEnvironment } = require('jest-environment-node');

/** Ends the run at the first failure: the mutant is killed, and Jest would go through the rest of the file. */
module.exports = class extends TestEnvironment {
  handleTestEvent({ name }) {
    if (name === 'test_fn_failure' || name === 'hook_failure') process.exit(1);
  }
};
