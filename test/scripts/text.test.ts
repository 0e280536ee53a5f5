import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { script } from '../../migrations/0016_add_security_fields';
import { policy } from '../../src/program/policy';
import { declaredShape } from '../support/application';
import { project } from '../support/knex';
import { newerThan95 } from './newer-than-95';

const names = { up: 'add_security_fields.sql', down: 'remove_security_fields.sql' } as const;

describe.each(['up', 'down'] as const)('the script %s', (direction) => {
  const text = readFileSync(join(project, 'sql', names[direction]), 'utf8');
  const header = text.slice(0, text.indexOf('\nDO '));

  test('is what "npm run script" renders now', () => {
    expect(script(direction, names)).toBe(text);
  });

  test('is plain: ASCII, lines that fit on a screen, no psql commands or variables, no ? that a driver would bind', () => {
    for (const [i, line] of text.split('\n').entries()) {
      const where = `line ${i + 1}: ${line}`;
      expect(where).toMatch(/^[ -~]*$/);
      expect(line).not.toMatch(/ $/);
      expect(line.length <= 110 ? '' : `break it in src/program/, ${where}`).toBe('');
      expect(line).not.toMatch(/^\s*\\/);
      expect(line).not.toContain('?');
    }
    // :name and :'name' are variables to psql, outside quotes and dollar quotes.
    expect(text.replace(/\$program\$.*?\$program\$|'[^']*'|--.*$/gms, '')).not.toMatch(/(?<!:):[a-z'"]/);
    // To SQLAlchemy, Alembic and PHP's PDO everywhere.
    expect(text).not.toMatch(/(?<![:\w\\]):\w/);
  });

  test('is one statement: nothing but a header before it, and nothing behind it', () => {
    expect(text).toMatch(/^(--.*\n)+DO \$program\$\n/);
    expect(text.split('$program$')).toEqual([expect.any(String), expect.any(String), ';\n']);
  });

  test('says at the top what it changes, how it is run, tried and taken back, and what it needs', () => {
    const lines = header.split('\n');
    expect(lines.length).toBeLessThanOrEqual(30);
    for (const title of ['What', 'Run', 'Rehearse', 'Needs', 'Locks', 'Keeps', 'Knex', 'Contents']) {
      expect(header).toMatch(new RegExp(`^-- ${title} `, 'm'));
    }
    for (const name of Object.values(names)) {
      expect(header).toMatch(`psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f ${name}`);
    }
    const [, declaration] = text.split('$declaration$');
    for (const [name, shape] of Object.entries(declaredShape)) {
      const [, type = '', notNull, value] = /^(.*?)( NOT NULL)?(?: DEFAULT (.*))?$/.exec(shape) ?? [];
      const declared = { name, type, notNull: notNull !== undefined, ...(value && { default: value }) };
      expect(declaration).toContain(JSON.stringify(declared).replace('"notNull":', '"notNull": '));
    }
  });

  test('has the paragraphs of its list of contents, in that order', () => {
    const [, list = ''] = /^-- Contents +(.*)/ms.exec(header) ?? [];
    const entries = list.replace(/\n-- +/g, ' ').split('; ');
    expect(entries.map((entry) => Number.parseInt(entry, 10))).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const places = entries.map((entry) => text.search(new RegExp(`^ +-- ${entry.slice(0, 3)}\\S`, 'm')));
    expect(places.every((place) => place > header.length)).toBe(true);
    expect(places).toEqual([...places].sort((a, b) => a - b));
  });

  test('waits as the policy says', () => {
    const constants = {
      deadline: `${policy.deadline / 1000} s`,
      first_sleep: `${policy.firstSleep} ms`,
      longest_sleep: `${policy.longestSleep} ms`,
      lock_budget: `${policy.lockBudget} ms`,
      patience: `${policy.patienceWithAutovacuum} ms`,
    };
    for (const [name, value] of Object.entries(constants)) {
      expect(text).toMatch(new RegExp(`^ +${name} +CONSTANT interval := '${value}';`, 'm'));
    }
  });

  test('ends a transaction only where it is alone in it, on a server that can', () => {
    const lines = text.split('\n');
    const depth = (line = '') => line.search(/\S/);
    const conditions = (i: number) => {
      let least = depth(lines[i]);
      const around = lines
        .slice(0, i)
        .reverse()
        .filter((line) => {
          if (depth(line) < 0 || depth(line) >= least) return false;
          least = depth(line);
          return true;
        });
      return around.filter((line) => /^ *IF /.test(line));
    };
    const found = (pattern: RegExp) =>
      lines.flatMap((line, i) => (pattern.test(line) ? [conditions(i)] : []));
    const [tried, ...ends] = found(/^ *(COMMIT|ROLLBACK);/);
    expect(tried?.join()).toBe('  IF may_commit THEN');
    expect(text).toMatch(/^ {6}COMMIT;\n {4}EXCEPTION /m); // where none is possible
    expect(ends).toHaveLength(2);
    for (const ifs of ends) expect(ifs.join()).toMatch(/\balone\b/);
    expect(text).toMatch(
      /^ +may_commit CONSTANT boolean := version_num OPERATOR\(pg_catalog\.>=\) 110000;$/m,
    );
    expect(text).toMatch(/^ {2}alone := may_commit AND NOT in_block;$/m);
  });

  test.each(newerThan95)('needs nothing of PostgreSQL $since: $what', ({ pattern, planted, syntax }) => {
    expect(planted).toMatch(pattern);
    // What is quoted is sent as a statement, or else compared with names: the latter may be of any version.
    // Where it is alone it ends its transaction (above), and a NOT NULL with a name is one that the server has.
    const code = text.replace(/--.*$/gm, '').replace(/^ *COMMIT;|ADD CONSTRAINT %2\$I NOT NULL/gm, '');
    expect(syntax ? code : code.replace(/'(?:[^']|'')*'/g, "''")).not.toMatch(pattern);
  });
});
