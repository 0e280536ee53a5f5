import type { Change } from '../declaration';
import { tableName } from './table';
import { literal, name } from './text';

/**
 * The change as somebody would type it: plain statements that look at nothing. For the documentation, beside
 * what they do not do. ADD COLUMN IF NOT EXISTS needs 9.6.
 */
export function manual(change: Change): string {
  const table = tableName(change);
  const { columns, rename } = change;
  const added = columns.map(
    (column) =>
      `  ADD COLUMN IF NOT EXISTS ${name(column.name)} ${column.type}` +
      (column.notNull ? ' NOT NULL' : '') +
      (column.default === undefined ? '' : ` DEFAULT ${column.default}`),
  );
  return [
    'BEGIN;',
    `SET LOCAL lock_timeout = ${literal('2s')};`,
    ...(added.length > 0 ? [`ALTER TABLE ${table}\n${added.join(',\n')};`] : []),
    ...(rename
      ? [
          `ALTER TABLE ${table} RENAME COLUMN ${name(rename.from)} TO ${name(rename.to)};`,
          `ALTER TABLE ${table} ALTER COLUMN ${name(rename.to)} DROP NOT NULL;`,
        ]
      : []),
    'COMMIT;',
  ].join('\n');
}
