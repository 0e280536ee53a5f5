import type { Mutant } from './mutations';

/** Mutants that no test of `npm test` can kill, and why: the line as it is, what it becomes. */
export const equivalent: readonly (Pick<Mutant, 'line' | 'mutated'> & { readonly reason: string })[] = [
  {
    line: 'IF actual.type <> wanted.type AND NOT is_told THEN',
    mutated: 'IF actual.type <> wanted.type AND is_told THEN',
    reason: 'The second look says it instead: once as well, but behind the lock.',
  },
  {
    line: "PERFORM set_config('plan_cache_mode', 'force_generic_plan', true) WHERE version_num >= 120000;",
    mutated: 'NULL;',
    reason: 'It looks again with a new plan: slower, behind the lock, and to the same end.',
  },
  {
    line: 'SET LOCAL synchronous_commit = local; -- a slow standby is waited for at the end, without the lock',
    mutated: 'NULL; -- a slow standby is waited for at the end, without the lock',
    reason:
      'It waits for the standby behind the lock: a server of its own is needed to see it (test/fire/standby).',
  },
  {
    line: 'after_alter := after_alter || CASE WHEN NOT wanted.not_null AND cardinality(relations) > 1 THEN (',
    mutated:
      'after_alter := after_alter || CASE WHEN NOT wanted.not_null AND cardinality(relations) >= 1 THEN (',
    reason: 'It looks for children where there are none: slower, and finds none.',
  },
  {
    line: "PERFORM pg_catalog.pg_logical_emit_message(true, 'table_change', 'done');",
    mutated: 'NULL;',
    reason: 'Nobody waits for the standby: a server of its own is needed to see it (test/fire/standby).',
  },
  {
    line: "WHEN to_found.width >= length(none) THEN none ELSE '' END,",
    mutated: "WHEN to_found.width > length(none) THEN none ELSE '' END,",
    reason: "'' is as good as the none that would just fit.",
  },
  {
    line: 'budget_left := budget_left - (clock_timestamp() - asked);',
    mutated: 'NULL;',
    reason:
      'Each partition is waited for as long as all together may be: only a clock can tell (test/fire/blocked).',
  },
];
