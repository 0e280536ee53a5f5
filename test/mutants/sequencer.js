const Sequencer = require('@jest/test-sequencer').default;

/** The quick files that kill most first, so that a mutant is not kept alive by long ones. */
const first = [
  'rules',
  'taken-back',
  'aside',
  'dependents',
  'codes',
  'values',
  'tries',
  'roles',
  'relations',
  'keys',
  'half-changes',
  'another-change',
  'in-flight',
];

module.exports = class extends Sequencer {
  sort(tests) {
    const place = ({ path }) => {
      const i = first.findIndex((name) => path.endsWith(`${name}.test.ts`));
      return i < 0 ? first.length : i;
    };
    return [...tests].sort((a, b) => place(a) - place(b) || a.path.localeCompare(b.path));
  }
};
