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

  test('is plain: ASCII, no psql commands or variables, lines that fit on a screen', () => {
    for (const [i, line] of text.split('\n').entries()) {
      const where = `line ${i + 1}: ${line}`;
      expect(where).toMatch(/^[ -~]*$/);
      expect(line).not.toMatch(/ $/);
      expect(line.length <= 118 ? '' : `break it in src/program/, ${where}`).toBe('');
      expect(line).not.toMatch(/^\s*\\/);
    }
    // :name and :'name' are variables to psql, outside quotes and dollar quotes.
    expect(text.replace(/\$program\$.*?\$program\$|'[^']*'|--.*$/gms, '')).not.toMatch(/(?<!:):[a-z'"]/);
  });

  test('says at the top what it changes, how it is run, checked and taken back, and what it needs', () => {
    for (const [name, shape] of Object.entries(declaredShape)) {
      const [, type = '', notNull, value] = /^(.*?)( NOT NULL)?(?: DEFAULT (.*))?$/.exec(shape) ?? [];
      const cells = [name, type, notNull ? 'no' : 'yes', ...(value ? [value] : [])];
      expect(header).toMatch(new RegExp(`^--   ${cells.map(escaped).join(' +')}$`, 'm'));
    }
    for (const title of ['What', 'Run', 'Check', 'Needs', 'Locks', 'Knex']) {
      expect(header).toMatch(new RegExp(`^-- ${title} `, 'm'));
    }
    for (const name of Object.values(names)) {
      expect(header).toMatch(`psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 -f ${name}`);
    }
  });

  test('has what its list of contents has, in that order', () => {
    const [, list = ''] = /in this order:\n--\n(.*?)\n--\n/s.exec(header) ?? [];
    const entries = list.split('\n').map((line) => line.replace(/^--\s+(1\. to 9\. )?|[,:(].*$/g, '').trim());
    expect(entries).toHaveLength(6);
    const places = entries.map((entry) => text.indexOf(`-- ${entry}`, header.length));
    expect(places.every((place) => place > 0)).toBe(true);
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
      expect(text).toMatch(new RegExp(`^ +${name} +CONSTANT pg_catalog.interval := '${value}';`, 'm'));
    }
  });

  test.each(newerThan95)('needs nothing of PostgreSQL $since: $what', ({ pattern, planted, syntax }) => {
    expect(planted).toMatch(pattern);
    // What is quoted is sent as a statement, or else compared with names: the latter may be of any version.
    const code = text.replace(/--.*$/gm, '');
    expect(syntax ? code : code.replace(/'(?:[^']|'')*'/g, "''")).not.toMatch(pattern);
  });
});

function escaped(text: string): string {
  return text.replace(/[()]/g, '\\$&');
}
