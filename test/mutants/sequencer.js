const Sequencer = require('@jest/test-sequencer').default;

/** The quick files that kill most first, so that a mutant is not kept alive by long ones. */
const first = [
  'rules',
  'tries',
  'taken-back',
  'dependents',
  'codes',
  'values',
  'roles',
  'relations',
  'keys',
  'in-flight',
  'half-changes',
  'another-change',
  'aside',
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
