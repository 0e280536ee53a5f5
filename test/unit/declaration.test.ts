import { checked, type Declaration } from '../../src/declaration';
import { tableChange, UserError } from '../../src/table-change';

const rename = { from: 'old', to: 'new', type: 'text', moveWhere: 'is_on', empty: '[]' };
const sound: Declaration = { id: '7', table: 't', add: { a: { type: 'text' } }, rename };

/** The mistakes that are named in it. */
function mistakes(declaration: Partial<Declaration>): string[] {
  try {
    tableChange({ ...sound, ...declaration });
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    const [heading, ...lines] = (error as Error).message.split('\n- ');
    expect(heading).toMatch(/^The change .* to .* is declared wrongly:$/);
    return lines;
  }
  return [];
}

test('a sound one has none', () => {
  expect(mistakes({})).toEqual([]);
});

test.each<[string, Partial<Declaration>, string]>([
  ['an id for a file, not for a name', { id: '0016-x' }, 'id "0016-x": digits, small letters and _ only'],
  [
    'a name twice',
    { add: { old: { type: 'text' } } },
    '"old" is declared twice: a column is either added or renamed, once',
  ],
  [
    'a rename onto a declared column',
    { add: { new: { type: 'text' } } },
    '"new" is declared twice: a column is either added or renamed, once',
  ],
  [
    'a rename onto itself',
    { rename: { ...rename, to: 'old' } },
    '"old" is declared twice: a column is either added or renamed, once',
  ],
  [
    'an unknown type',
    { add: { a: { type: 'strnig' } } },
    '"a" has the unknown type "strnig": known are boolean, ',
  ],
  [
    'a length where there is none',
    { add: { a: { type: 'text(5)' } } },
    '"a" has the unknown type "text(5)": known are boolean, ',
  ],
  [
    'a scale where there is none',
    { add: { a: { type: 'varchar(5,2)' } } },
    '"a" has the unknown type "varchar(5,2)": known are boolean, ',
  ],
  [
    'a statement for a type',
    { add: { a: { type: 'text; DROP TABLE t' } } },
    '"a" has the unknown type "text; DROP TABLE t": known are boolean, ',
  ],
  [
    'an unknown type of the new name',
    { rename: { ...rename, type: 'list' } },
    '"new" has the unknown type "list"',
  ],
  [
    'NOT NULL without a default',
    { add: { a: { type: 'text', notNull: true } } },
    '"a" is NOT NULL without a default: the rows that are there would have no value',
  ],
  [
    'a condition that is part of the change',
    { rename: { ...rename, moveWhere: 'a' } },
    'moveWhere "a" is part of the change itself: name a column that stays',
  ],
  [
    'a name of 64 bytes',
    { add: { [`${'ü'.repeat(31)}xx`]: { type: 'text' } } },
    `the name "${'ü'.repeat(31)}xx" has 64 bytes: 1 to 63 are possible`,
  ],
  [
    'an end that every migration has',
    { knex: { migration: '0016_x', endsWith: '' } },
    'knex.endsWith, or knex.migration, is empty: every migration ends like that',
  ],
  ['no name', { add: { '': { type: 'text' } } }, 'the name "" has 0 bytes: 1 to 63 are possible'],
  [
    'a table without room for the names of its archives',
    { table: 't'.repeat(50) },
    `the name "${'t'.repeat(50)}_7_down_archive" has 65 bytes: 1 to 63 are possible`,
  ],
])('%s', (_, declaration, mistake) => {
  expect(mistakes(declaration)).toEqual([expect.stringContaining(mistake)]);
});

test('nothing at all', () => {
  expect(() => tableChange({ id: '7', table: 't', add: {} })).toThrow(
    'nothing is declared: give add, rename or both',
  );
});

test('all mistakes at once', () => {
  expect(mistakes({ id: 'X', add: { a: { type: 'x', notNull: true }, old: { type: 'y' } } })).toHaveLength(5);
});

test.each([
  ['varchar(255)', 'character varying(255)'],
  ['character varying (255)', 'character varying(255)'],
  ['varchar', 'character varying'],
  ['timestamptz', 'timestamp with time zone'],
  ['timestamp', 'timestamp without time zone'],
  ['int', 'integer'],
  ['bool', 'boolean'],
  ['numeric(5)', 'numeric(5,0)'],
  ['numeric(5, 2)', 'numeric(5,2)'],
])('%s is %s to the server', (written, canonical) => {
  expect(checked({ ...sound, add: { a: { type: written } } }).columns[0]?.type).toBe(canonical);
});
