/** Something that a server of 9.5 does not know (release notes of 9.6 to 18), and a statement that has it. */
export interface Newer {
  readonly since: string;
  readonly what: string;
  readonly pattern: RegExp;
  readonly planted: string;
  /** Also where it is quoted: a statement that is put together. The others are names in the catalog. */
  readonly syntax: boolean;
}

const syntax: readonly (readonly [since: string, what: string, pattern: RegExp, planted: string])[] = [
  ['9.6', 'ADD COLUMN IF NOT EXISTS', /ADD\s+COLUMN\s+IF\s+NOT\s+EXISTS/i, 'ADD COLUMN IF NOT EXISTS a int'],
  // 9.5 takes cstring, 9.6 text: a bare literal is both. %L becomes one.
  ['9.6', 'to_regclass(text)', /to_reg\w+\((?!'[^']*'\)|%L\)|'?'?pg_catalog\.)/i, 'to_regclass(c.name)'],
  ['9.6', 'a cast in to_regclass', /to_reg\w+\([^)]*::/i, "to_regclass('t'::text)"],
  ['9.6', 'current_setting with two arguments', /current_setting\([^()]*,/i, "current_setting('a.b', true)"],
  ['9.6', 'pg_blocking_pids', /pg_blocking_pids/i, 'SELECT pg_blocking_pids(1)'],
  [
    '9.6',
    'new functions',
    /\b(parse_ident|pg_size_bytes|num_(?:non)?nulls|jsonb_insert|pg_notification_queue_usage)\(/i,
    'num_nulls(a, b)',
  ],
  ['9.6', 'CREATE EXTENSION ... CASCADE', /CREATE\s+EXTENSION[^;]*CASCADE/i, 'CREATE EXTENSION x CASCADE'],
  [
    '9.6',
    'idle_in_transaction_session_timeout',
    /SET\s[^;]*idle_in_transaction_session_timeout/i,
    'SET LOCAL idle_in_transaction_session_timeout = 0',
  ],
  [
    '10',
    'GENERATED ... AS IDENTITY',
    /GENERATED\s+(ALWAYS|BY\s+DEFAULT)\s+AS/i,
    'id int GENERATED ALWAYS AS IDENTITY',
  ],
  [
    '10',
    'declarative partitioning',
    /PARTITION\s+BY\s+(RANGE|LIST|HASH)|(ATTACH|DETACH)\s+PARTITION|PARTITION\s+OF/i,
    'ATTACH PARTITION p DEFAULT',
  ],
  [
    '10',
    'regexp_match and its successors',
    /\bregexp_(match|count|instr|like|substr)\(/i,
    "regexp_match(a, 'b')",
  ],
  ['10', 'jsonb - text[]', /-\s*ARRAY\[/i, "a - ARRAY['b']"],
  [
    '10',
    'CREATE STATISTICS, PUBLICATION, SUBSCRIPTION',
    /CREATE\s+(STATISTICS|PUBLICATION|SUBSCRIPTION)/i,
    'CREATE PUBLICATION p',
  ],
  ['10', 'transition tables', /REFERENCING\s+(NEW|OLD)\s+TABLE/i, 'REFERENCING NEW TABLE AS n'],
  ['11', 'procedures', /\bCALL\s+\w+\(|CREATE\s+(OR\s+REPLACE\s+)?PROCEDURE/i, 'CALL work()'],
  ['11', 'EXECUTE FUNCTION', /EXECUTE\s+FUNCTION/i, 'FOR EACH ROW EXECUTE FUNCTION f()'],
  ['11', 'transactions inside a block', /^\s*(COMMIT|ROLLBACK)\s*;/im, 'BEGIN\n  COMMIT;\nEND'],
  ['11', 'INCLUDE in an index', /\)\s*INCLUDE\s*\(/i, 'CREATE INDEX ON t (a) INCLUDE (b)'],
  [
    '11',
    'GROUPS in a window',
    /\bGROUPS\s+BETWEEN/i,
    'OVER (ORDER BY a GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING)',
  ],
  ['11', 'a CONSTANT of type record', /CONSTANT\s+(pg_catalog\.)?record/i, 'r CONSTANT record := NULL'],
  ['12', 'MATERIALIZED for WITH', /AS\s+(NOT\s+)?MATERIALIZED\s*\(/i, 'WITH a AS MATERIALIZED (SELECT 1)'],
  [
    '12',
    'generated columns',
    /GENERATED\s+ALWAYS\s+AS\s*\(|\bSTORED\b/i,
    'b int GENERATED ALWAYS AS (a) STORED',
  ],
  ['12', 'jsonpath', /\bjsonb_path_\w+\(|@\?|@@\s*'/i, "jsonb_path_exists(a, '$.b')"],
  ['13', 'FETCH FIRST ... WITH TIES', /WITH\s+TIES/i, 'FETCH FIRST 1 ROW WITH TIES'],
  ['13', 'gen_random_uuid', /gen_random_uuid|pg_current_xact_id/i, 'SELECT gen_random_uuid()'],
  ['14', 'subscripts of jsonb', /\bsteps?\['/i, "step['sql']"],
  ['14', 'CREATE OR REPLACE TRIGGER', /CREATE\s+OR\s+REPLACE\s+TRIGGER/i, 'CREATE OR REPLACE TRIGGER t'],
  [
    '14',
    'string_to_table, date_bin, trim_array',
    /\b(string_to_table|date_bin|trim_array|unistr)\(/i,
    "string_to_table(a, ',')",
  ],
  ['14', 'an alias for JOIN ... USING', /USING\s*\([^)]*\)\s+AS\b/i, 'JOIN b USING (id) AS j'],
  ['14', 'BEGIN ATOMIC', /BEGIN\s+ATOMIC/i, 'BEGIN ATOMIC SELECT 1; END'],
  ['15', 'MERGE', /\bMERGE\s+INTO/i, 'MERGE INTO t USING s ON true'],
  ['15', 'NULLS NOT DISTINCT', /NULLS\s+NOT\s+DISTINCT/i, 'UNIQUE NULLS NOT DISTINCT (a)'],
  ['15', 'security_invoker', /security_invoker/i, 'WITH (security_invoker)'],
  ['16', 'underscores in numbers', /\b\d+_\d+\b(?!\w)/, 'SELECT 1_000'],
  [
    '16',
    'IS JSON, json_arrayagg, any_value',
    /IS\s+(NOT\s+)?JSON\b|json_(array|object)agg\(|any_value\(/i,
    'a IS JSON',
  ],
  [
    '16',
    'a subquery in FROM without an alias',
    /\bFROM\s*\([^()]*\)\s*(;|WHERE|ORDER)/i,
    'FROM (SELECT 1) WHERE true',
  ],
  [
    '17',
    'JSON_TABLE and its like',
    /\bjson_(table|query|value|exists|scalar|serialize)\(/i,
    "JSON_TABLE(a, '$')",
  ],
  [
    '17',
    'SET EXPRESSION, MAINTAIN, transaction_timeout',
    /SET\s+EXPRESSION|GRANT\s+MAINTAIN|transaction_timeout\s*=/i,
    'GRANT MAINTAIN ON t TO r',
  ],
  ['18', 'OLD and NEW in RETURNING', /RETURNING\s+(WITH\s*\(|old\.|new\.)/i, 'RETURNING old.a'],
  [
    '18',
    'NOT NULL as a constraint of its own',
    /CONSTRAINT\s+\S+\s+NOT\s+NULL|NOT\s+ENFORCED|\bVIRTUAL\b/i,
    'CONSTRAINT c NOT NULL a',
  ],
];

const catalog: typeof syntax = [
  ['9.6', 'wait_event', /\bwait_event(_type)?\b/, 'SELECT a.wait_event'],
  [
    '10',
    'columns of the catalog',
    /\.(attidentity|relispartition|relpartbound|backend_type|indnkeyatts)\b/,
    'a.attidentity',
  ],
  [
    '10',
    'tables of the catalog',
    /\b(FROM|JOIN)\s+(pg_catalog\.)?pg_(publication|subscription|sequence|partitioned_table|statistic_ext)\w*/i,
    'JOIN pg_publication_rel r',
  ],
  [
    '11',
    'columns of the catalog',
    /\.(prokind|atthasmissing|attmissingval|conparentid|indnkeyatts)\b/,
    "p.prokind = 'f'",
  ],
  ['12', 'columns of the catalog', /\.(attgenerated|prosqlbody)\b/, "a.attgenerated = 's'"],
  ['18', 'columns of the catalog', /\.(conenforced|attcompression|starelid_ext)\b/, 'k.conenforced'],
];

export const newerThan95: readonly Newer[] = [
  ...syntax.map(([since, what, pattern, planted]) => ({ since, what, pattern, planted, syntax: true })),
  ...catalog.map(([since, what, pattern, planted]) => ({ since, what, pattern, planted, syntax: false })),
];
