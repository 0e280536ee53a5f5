import { explained } from '../../src/connection';
import { UserError } from '../../src/table-change';

const error = (message: string, more: object = {}) => Object.assign(new Error(message), more);

test.each<[string, Error, string]>([
  [
    'message, detail and hint of the server',
    error('a', { code: 'P0001', detail: 'b', hint: 'c' }),
    'a\nb\nc',
  ],
  ['only what there is', error('a', { code: 'P0001', detail: undefined, hint: '' }), 'a'],
  [
    'a statement_timeout',
    error('canceling statement', { code: '57014' }),
    'canceling statement\nIf it was statement_timeout',
  ],
  [
    'a transaction_timeout',
    error('terminating', { code: '25P04' }),
    'terminating\nIt was transaction_timeout',
  ],
  ['a lost connection, by code', error('x', { code: '57P01' }), 'x\nThe connection was lost, '],
  ['a lost connection, by message', error('read ECONNRESET'), 'read ECONNRESET\nThe connection was lost, '],
  ['no room for locks', error('out of shared memory', { code: '53200' }), 'out of shared memory\nRaise '],
])('%s', (_, given, message) => {
  const shown = explained(given);
  expect(shown).toBeInstanceOf(UserError);
  expect(shown.message).toMatch(new RegExp(`^${message}`));
  expect(shown.stack).toBe(shown.message);
});

test('what is explained already stays as it is', () => {
  const known = new UserError('x');
  expect(explained(known)).toBe(known);
});

test('a defect of ours keeps its stack', () => {
  const defect = new TypeError('x is not a function');
  expect(explained(defect)).toBe(defect);
});
