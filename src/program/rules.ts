import type { Change } from '../declaration';
import { archive, differingValues, givenBack, writeDown } from './archive';
import { batched, comingBack, giveBack, goingAway, putAside } from './aside';
import { conflicts, downNotes, upConflicts } from './conflicts';
import { dependentRules, dependents } from './dependents';
import { type Direction, look, tree } from './look';
import { policy } from './policy';
import { catalog, downCatalog, downRows, fill, upRows } from './steps';
import { wanted } from './wanted';

/** A row of the rules query. Rows with SQL are steps. */
export interface Rule {
  /** conflict, warning, note: for the reader. The others: when a step is carried out, and under which lock. */
  readonly phase:
    | 'conflict'
    | 'warning'
    | 'note'
    | 'stage'
    | 'batch'
    | 'prepare'
    | 'change'
    | 'refill'
    | 'again'
    | 'forget';
  /** The columns it is about; one ALTER TABLE can be about several, each with its own words. */
  readonly columns: readonly (string | null)[];
  readonly words: readonly string[];
  readonly sql: string | null;
  /** A query that gives a boolean: the step is carried out where it is true. Without `sql`: refused there. */
  readonly only_if: string | null;
  /** What is said where `only_if` is false. */
  readonly otherwise: string | null;
  /** What to do about a conflict or a warning. */
  readonly advice: string | null;
}

/** What the caller allows. */
export interface Allowed {
  /** To go on although a trigger function reads a column that changes its name. */
  readonly ignoreDependents?: boolean;
  /** To commit a part of the work: the caller sends the program until all of it is done. */
  readonly inBatches?: boolean;
}

/**
 * Paragraph 5. What is to be done to the table, and whether it can be: one SELECT over the shapes found
 * and wanted, with no lock and no side effect, that gives a `Rule` a row, in the order of the work.
 */
export function rules(
  change: Change,
  direction: Direction,
  { ignoreDependents = false, inBatches = false }: Allowed = {},
): string {
  const branches = [
    ...dependentRules,
    ...conflicts,
    ...(direction === 'up' ? upConflicts : downNotes),
    ...fill,
    ...archive(direction),
    ...(direction === 'up' ? upRows : downRows),
    ...catalog,
    ...(direction === 'up' ? giveBack : [...putAside, ...downCatalog]),
  ];
  return `
WITH RECURSIVE
${tree},
-- Set it to true to go on although a trigger function reads a column that changes its name.
ignoring (dependents) AS (VALUES (${ignoreDependents})),
-- Whether a part of the work may be committed, as by Knex. In a script it may not: then no rule gives a step of
-- the phases stage, batch, refill and again.
batches (allowed) AS (VALUES (${inBatches})),
${look(change)},
${wanted(direction)},
${dependents},

key_of AS (
  SELECT array_to_string(key, ', ') AS columns, 'a.' || array_to_string(key, ', a.') AS archived,
         -- The operator of the key's own type, where = would take what fits better on the search_path.
         (SELECT string_agg(format('t.%1$s %2$s a.%1$s', quote_ident(a.attname),
                                   CASE WHEN n.nspname = 'pg_catalog' THEN '='
                                        ELSE format('OPERATOR(%I.=)', coalesce(n.nspname, 'pg_catalog')) END),
                            ' AND ' ORDER BY a.attnum)
          FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
          LEFT JOIN pg_operator o ON o.oprname = '=' AND o.oprleft = y.oid AND o.oprright = y.oid
            AND o.oprnamespace = y.typnamespace
          LEFT JOIN pg_namespace n ON n.oid = o.oprnamespace
          WHERE a.attrelid = this.oid AND quote_ident(a.attname) = ANY (this.key)) AS matches
  FROM this
),
${batched},

-- Archives whose rows can still be found by the key.
returnable AS (
  SELECT o.* FROM ours o CROSS JOIN this
  WHERE o.oid IS NOT NULL AND this.key IS NOT NULL
    AND NOT EXISTS (
      SELECT 1 FROM shape f
      WHERE f.role = 'found' AND quote_ident(f.name) = ANY (this.key)
        AND NOT EXISTS (SELECT 1 FROM shape a
                        WHERE a.role = o.role AND a.name = f.name AND (a.type = f.type OR a.family = f.family)))
),

-- Values that come back; values that would go with a dropped column: which, in which rows, and how they are kept.
${direction === 'up' ? `${comingBack},\n${differingValues}` : [goingAway, givenBack, narrowing].join(',\n')},

-- The rules, a SELECT each, in the order of the work: in which phase and position; about which column; in the
-- reader's words; the statement; a query that tells whether it is sent, and what is said where not; the advice.
rule (phase, position, place, col, words, sql, only_if, otherwise, advice) AS (
${inOrder(branches)}
),

-- What frames them, where there is anything to do at all.
step AS (
  SELECT * FROM rule
${direction === 'up' ? `  UNION ALL${writeDown}\n` : ''}\
  UNION ALL
  SELECT 'change', position, 0, NULL, verb || ' for the owner, who would not see every row',
         format('ALTER TABLE %s %s ROW LEVEL SECURITY', this.sql_name, verb), NULL, NULL, NULL
  FROM this CROSS JOIN (VALUES (290, 'NO FORCE'), (490, 'FORCE')) v (position, verb)
  WHERE this.forced AND EXISTS (SELECT 1 FROM rule WHERE position BETWEEN 305 AND 399 OR position IN (430, 431))
)
SELECT phase,
       array_agg(col ORDER BY place, words) AS columns,
       array_agg(words ORDER BY place, words) AS words,
       CASE WHEN position IN (303, 420, 450) THEN format('ALTER TABLE %s ', this.sql_name) ELSE '' END
         || string_agg(sql, ', ' ORDER BY place, words) AS sql,
       min(only_if) AS only_if, min(otherwise) AS otherwise, min(advice) AS advice
FROM step CROSS JOIN this
GROUP BY step.phase, position, CASE WHEN position NOT IN (303, 420, 450) THEN place END,
         CASE WHEN position < 300 THEN words END, this.sql_name
ORDER BY position, min(place), min(words)`;
}

/** down: columns that up widened, and why one stays wide. */
const narrowing = `\
narrowing AS (
  SELECT c.*, CASE WHEN this.forced THEN 'row-level security hides whether every value would fit'
                   WHEN b.what IS NOT NULL THEN 'it is used by ' || b.what
                   WHEN this.total + (this.relations - 1) * ${policy.rewriteOfPartition} > ${policy.rewriteLimit}
                   THEN concat('it would rewrite ', pg_size_pretty(this.total),
                               CASE WHEN this.relations > 1 THEN format(' in %s tables', this.relations) END)
              END AS reason
  FROM compared c CROSS JOIN this LEFT JOIN blocker b ON b.name = c.name
  WHERE c.verdict = 'narrow'
)`;

/** A union of SELECTs by their position, which is the first number of three digits in each. */
function inOrder(branches: readonly string[]): string {
  const position = (branch: string) => Number(/\b\d{3}\b/.exec(branch));
  return [...branches]
    .sort((a, b) => position(a) - position(b))
    .map((branch) => branch.replace(/^\n+/, ''))
    .join('\n  UNION ALL\n');
}
