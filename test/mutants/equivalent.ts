import type { Mutant } from './mutations';

const before11 = 'of servers before 11: with PG_NATIVE naming PostgreSQL 10 a test kills it';
const onCitus = 'without Citus nothing comes of it; citus.test.ts holds its text';

/** Mutants that no test can kill, and why: the line as it is, what it becomes. */
export const equivalent: readonly (Pick<Mutant, 'line' | 'mutated'> & { readonly reason: string })[] = [
  {
    line: 'AND coalesce(a.xact_start < asked, true)',
    mutated: 'AND coalesce(a.xact_start <= asked, true)',
    reason: 'two moments in microseconds, on two connections',
  },
  {
    line: 'JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped',
    mutated: 'JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum >= 0 AND NOT a.attisdropped',
    reason: 'no attribute has the number 0',
  },
  {
    line: "WHEN f.type = 'smallint' THEN 2",
    mutated: '',
    reason: 'nothing is narrower than a smallint, so its width is never compared with success',
  },
  {
    line: "WHEN w.type = 'bigint' THEN 8 END",
    mutated: "WHEN w.type <> 'bigint' THEN 8 END",
    reason: 'nothing is wider than a bigint, so its width is never compared with success',
  },
  {
    line: 'WHERE batches.allowed AND this.bytes > 262144 AND this.key IS NOT NULL AND NOT this.forced',
    mutated: 'WHERE batches.allowed AND this.bytes >= 262144 AND this.key IS NOT NULL AND NOT this.forced',
    reason: 'a table of exactly that size may go either way',
  },
  {
    line: '(SELECT sum(greatest(c.reltuples, 0))::bigint FROM tree JOIN pg_class c ON c.oid = tree.oid),',
    mutated: '(SELECT sum(greatest(c.reltuples, 0))::bigint FROM tree JOIN pg_class c ON c.oid <> tree.oid),',
    reason: before11,
  },
  {
    line: "AND EXISTS (SELECT 1 FROM compared WHERE verdict = 'add' AND fill IS NOT NULL)",
    mutated: "AND EXISTS (SELECT 1 FROM compared WHERE verdict = 'add' AND fill IS NULL)",
    reason: before11,
  },
  {
    line: "AND EXISTS (SELECT 1 FROM compared WHERE verdict = 'add' AND fill IS NOT NULL)",
    mutated: "AND NOT EXISTS (SELECT 1 FROM compared WHERE verdict = 'add' AND fill IS NOT NULL)",
    reason: before11,
  },
  {
    line: "AND EXISTS (SELECT 1 FROM compared WHERE verdict = 'add' AND fill IS NOT NULL)",
    mutated: "AND EXISTS (SELECT 1 FROM compared WHERE verdict <> 'add' AND fill IS NOT NULL)",
    reason: before11,
  },
  {
    line: "WHERE current_setting('server_version_num')::integer < 110000",
    mutated: "WHERE current_setting('server_version_num')::integer <= 110000",
    reason: 'of 11.0, which has had 22 corrections since',
  },
  {
    line: "SET LOCAL citus.propagate_set_commands = 'local';",
    mutated: 'NULL;',
    reason: onCitus,
  },
  {
    line: "SET LOCAL citus.multi_shard_modify_mode = 'sequential';",
    mutated: 'NULL;',
    reason: onCitus,
  },
  {
    line: 'on_citus CONSTANT pg_catalog.bool := EXISTS (',
    mutated: 'on_citus CONSTANT pg_catalog.bool := NOT EXISTS (',
    reason: onCitus,
  },
  {
    line: "IF SQLSTATE = 'XX000' AND SQLERRM NOT LIKE 'failure on connection marked as essential%' THEN",
    mutated:
      "IF SQLSTATE = 'XX000' AND NOT SQLERRM NOT LIKE 'failure on connection marked as essential%' THEN",
    reason: onCitus,
  },
  {
    line: "IF stage.name = 'forget' AND jsonb_array_length(steps) > 0 THEN",
    mutated: "IF stage.name = 'forget' AND jsonb_array_length(steps) >= 0 THEN",
    reason: 'where nothing was to be done it asks once more, and gets the same answer',
  },
  {
    line: "WHERE c.verdict = 'widen' AND this.bytes > 16777216",
    mutated: "WHERE c.verdict = 'widen' AND this.bytes >= 16777216",
    reason: 'a table of exactly that size may go either way',
  },
  {
    line: "LEFT JOIN pg_operator o ON o.oprname = '=' AND o.oprleft = y.oid AND o.oprright = y.oid",
    mutated: "LEFT JOIN pg_operator o ON o.oprname <> '=' AND o.oprleft = y.oid AND o.oprright = y.oid",
    reason: 'a type that has its other operators in its schema has = there: the same condition several times',
  },
  {
    line: 'WHEN this.total + (this.relations - 1) * 1048576 > 16777216',
    mutated: 'WHEN this.total + (this.relations - 1) * 1048576 >= 16777216',
    reason: 'a table of exactly that size may go either way',
  },
  {
    line: "WHEN c.type = d.type AND c.type !~ '^(json$|character)' THEN '%1$I IS DISTINCT FROM %2$s'",
    mutated: '',
    reason: 'as text they differ as well; it takes longer',
  },
  {
    line: 'CASE WHEN position < 300 THEN words END, this.sql_name',
    mutated: 'CASE WHEN position <= 300 THEN words END, this.sql_name',
    reason: 'a single row has that position',
  },
];
