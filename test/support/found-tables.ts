import fc from 'fast-check';
import { escapeLiteral } from 'pg';
import { declaredShape } from './application';

/** A column as somebody may have left it. Values are literals, one a row, and fit the type. */
export interface FoundColumn {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
  readonly default: string | null;
  readonly values: readonly (string | null)[];
}

/** A table user_profiles, with whichever of the columns concerned are there. */
export interface FoundTable {
  readonly mfaEnabled: readonly boolean[];
  readonly columns: readonly FoundColumn[];
}

const rowCount = 4;

const samples: Readonly<Record<string, readonly string[]>> = {
  'varchar(20)': ['', 'a', 'twenty characters xx'],
  'varchar(50)': ['', 'a', 'x'.repeat(50)],
  'varchar(100)': ['', 'a', 'x'.repeat(100)],
  'varchar(255)': ['', 'a', 'x'.repeat(255)],
  'varchar(300)': ['', 'a', 'x'.repeat(300)],
  varchar: ['', 'a', 'x'.repeat(300)],
  text: ['', 'a', '[]', '["A1"]', 'x'.repeat(300)],
  jsonb: ['[]', '["A1"]', '["A1", "B2"]', '{}', 'null'],
  json: ['[]', '["A1"]', '["A1",  "B2"]'],
  smallint: ['0', '3'],
  integer: ['0', '3', '-70000'],
  bigint: ['0', '3', '70000000000'],
  boolean: ['false', 'true'],
  'text[]': ['{}', '{A1}', '{A1,B2}'],
  timestamptz: ['2024-01-01 12:00:00+00', '2030-06-01 00:00:00+02'],
  'timestamptz(6)': ['2024-01-01 12:00:00.123456+00'],
  timestamp: ['2024-01-01 12:00:00'],
  uuid: ['00000000-0000-4000-8000-000000000000'],
};

/** Types that can be brought to the declared one, by the beginning of that. */
const akin: readonly (readonly [declared: string, types: readonly string[]])[] = [
  ['integer', ['integer', 'bigint']],
  ['boolean', ['boolean']],
  ['timestamp', ['timestamptz', 'timestamptz(6)']],
  [
    'character',
    ['varchar(20)', 'varchar(50)', 'varchar(100)', 'varchar(255)', 'varchar(300)', 'varchar', 'text'],
  ],
  ['codes', ['jsonb', 'text', 'json', 'text[]']],
];

function column(name: string, declared: string): fc.Arbitrary<FoundColumn | undefined> {
  const likely = akin.find(([prefix]) => declared.startsWith(prefix))?.[1] ?? [];
  const type = fc.oneof(
    { arbitrary: fc.constantFrom(...likely), weight: 60 },
    { arbitrary: fc.constantFrom(...Object.keys(samples)), weight: 1 },
  );
  const found = type.chain((chosen) => {
    const value = fc.constantFrom(...(samples[chosen] ?? []));
    return fc
      .record({
        notNull: fc.boolean(),
        default: fc.option(value, { freq: 2 }),
        values: fc.array(fc.option(value, { freq: 2 }), { minLength: rowCount, maxLength: rowCount }),
        instead: value,
      })
      .map(({ notNull, default: expression, values, instead }) => ({
        name,
        type: chosen,
        notNull,
        default: expression,
        values: notNull ? values.map((one) => one ?? instead) : values,
      }));
  });
  return fc.option(found, { nil: undefined, freq: 2 });
}

/** Any table that may be found. */
export const foundTable: fc.Arbitrary<FoundTable> = fc.record({
  mfaEnabled: fc.array(fc.boolean(), { minLength: rowCount, maxLength: rowCount }),
  columns: fc
    .tuple(
      ...Object.entries({ ...declaredShape, backup_codes: 'codes', mfa_backup_codes: 'codes' }).map(
        ([name, declared]) => column(name, declared),
      ),
    )
    .map((columns) => columns.filter((found) => found !== undefined)),
});

/** The statements that make it. */
export function statementsFor({ mfaEnabled, columns }: FoundTable): string {
  const definitions = columns.map(({ name, type, notNull, default: expression }) =>
    [
      name,
      type,
      ...(notNull ? ['NOT NULL'] : []),
      ...(expression === null ? [] : [`DEFAULT ${escapeLiteral(expression)}`]),
    ].join(' '),
  );
  const rows = mfaEnabled.map((enabled, row) =>
    [
      row + 1,
      enabled,
      ...columns.map(({ values }) => {
        const value = values[row] ?? null;
        return value === null ? 'NULL' : escapeLiteral(value);
      }),
    ].join(', '),
  );
  return `
    CREATE TABLE user_profiles (${['user_id integer PRIMARY KEY', 'mfa_enabled boolean NOT NULL', ...definitions].join(', ')});
    INSERT INTO user_profiles VALUES (${rows.join('), (')});`;
}
