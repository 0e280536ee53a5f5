/** One change in one place of the program's text. */
export interface Mutant {
  /** The line before and the line that changes: where these two stand together, in both directions' texts. */
  readonly before: string;
  readonly line: string;
  readonly mutated: string;
}

interface Operator {
  readonly applies: RegExp;
  readonly mutate: (line: string) => string;
}

const swap = (from: RegExp, to: string): Operator => ({
  applies: from,
  mutate: (line) => line.replace(from, to),
});

/** A line in which something is asked. */
const asks = /\b(WHERE|AND|OR|ON|WHEN|IF|HAVING|CASE|EXISTS)\b/;

const operators: readonly Operator[] = [
  // Each WHEN line removed.
  { applies: /^\s*WHEN .* THEN /, mutate: () => '' },
  // Each condition negated.
  swap(/\bIS NOT NULL\b/, 'IS NULL'),
  swap(/\bIS NULL\b/, 'IS NOT NULL'),
  swap(/\bNOT EXISTS\b/, 'EXISTS'),
  swap(/(?<!NOT )\bEXISTS\b/, 'NOT EXISTS'),
  swap(/\bNOT IN\b/, 'IN'),
  swap(/(?<!NOT )\bIN \((?='|SELECT)/, 'NOT IN ('),
  swap(/ = /, ' <> '),
  swap(/ <> /, ' = '),
  swap(/\bIS DISTINCT FROM\b/, 'IS NOT DISTINCT FROM'),
  swap(/ AND (?!NOT )/, ' AND NOT '),
  swap(/\bAND NOT /, 'AND '),
  swap(/ OR /, ' AND '),
  swap(/^(\s*(?:ELS)?IF )(.*)( THEN)\b/, '$1NOT ($2)$3'),
  // Each statement left out.
  swap(/^(\s*)(?:PERFORM|EXECUTE|SET|GET|RAISE|OPEN|COMMIT|CONTINUE|EXIT)\b.*;$/, '$1NULL;'),
  swap(/^(\s*)\w+(?:\[\d\])? := .*;$/, '$1NULL;'),
  // Each bound moved by one.
  swap(/ < /, ' <= '),
  swap(/ > /, ' >= '),
  swap(/ >= /, ' > '),
  swap(/ <= /, ' < '),
];

/** Every mutant of these texts; a place that stands in several of them counts once. */
export function mutantsOf(texts: readonly string[]): Mutant[] {
  const mutants = new Map<string, Mutant>();
  for (const text of texts) {
    const lines = text.split('\n');
    lines.forEach((line, i) => {
      const before = lines[i - 1] ?? '';
      // What is said to a reader, on a line of its own, is no code.
      const isCode = !/^\s*(--.*|'([^']|'')*'[,)]*)?$/.test(line);
      // So is a remark behind the code.
      const [, code = line, remark = ''] = /^(.*?)( -- [^']*)$/.exec(line) ?? [];
      for (const { applies, mutate } of isCode ? operators : []) {
        // An assignment, a format string or a list of values asks nothing.
        if (!applies.test(code) || (/^ [=<>]/.test(applies.source) && !asks.test(code))) continue;
        const mutated = mutate(code) + remark;
        mutants.set(JSON.stringify([before, line, mutated]), { before, line, mutated });
      }
    });
  }
  return [...mutants.values()];
}

/** The text with the mutant in it, wherever its place occurs. */
export function withMutant(text: string, { before, line, mutated }: Mutant): string {
  const lines = text.split('\n');
  return lines.map((one, i) => (one === line && (lines[i - 1] ?? '') === before ? mutated : one)).join('\n');
}
