import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { policy } from '../../src/program/policy';
import { project } from '../support/knex';

const text = (file: string) => readFileSync(join(project, file), 'utf8').replaceAll(/\s+/g, ' ');

/** The sleep after the n-th failed try (n from 1), before jitter, in milliseconds. test/server/tries sees it happen. */
const sleepAfter = (failedTries: number) =>
  Math.min(policy.longestSleep, policy.firstSleep * 2 ** (failedTries - 1));

/** How many tries there are until the deadline where each one waits that long, and sleeps are as long as this share. */
function triesOf(milliseconds: number, share: number): number {
  let waited = 0;
  for (let tries = 1; ; tries++) {
    const sleep = sleepAfter(tries) * share;
    waited += milliseconds;
    if (waited + sleep > policy.deadline) return tries;
    waited += sleep;
  }
}

// SHARE UPDATE EXCLUSIVE, which makes nobody wait, may take deadlock_timeout (1 s) and a little more.
const fewest = triesOf(1_000 + policy.patienceWithAutovacuum + policy.lockBudget, 1 + policy.jitter);
const usual = triesOf(policy.lockBudget, 1);

test('sleeps double up to the longest', () => {
  expect([1, 2, 3, 4, 5, 6].map(sleepAfter)).toEqual([250, 500, 1000, 2000, 2000, 2000]);
});

test('one try makes nobody wait for more than 500 ms, and ends before the server looks for deadlocks', () => {
  expect(policy.lockBudget).toBeLessThanOrEqual(500);
  expect(policy.lockBudget).toBeLessThan(1_000);
});

test('with jitter two in step fall out of step', () => {
  expect(policy.jitter).toBeGreaterThan(0);
  expect(policy.jitter).toBeLessThan(1);
});

test('what the documents say is what the numbers add up to', () => {
  const readme = text('README.md');
  expect(readme).toContain(`a try delays the application at most ${policy.lockBudget / 1000} s`);
  expect(readme).toContain(`gives up on a table in use (${policy.deadline / 1000})`);
  expect(readme).toContain(`a table of more than ${policy.rewriteLimit / 1024 / 1024} MB`);
  const architecture = text('docs/ARCHITECTURE.md');
  expect(architecture).toContain(`one budget of ${policy.lockBudget} ms a try`);
  expect(architecture).toContain(
    `In the ${policy.deadline / 1000} s until it gives up there are usually ${usual} tries, and never fewer than ${fewest}.`,
  );
});

test('the scripts have the same numbers', () => {
  for (const name of ['add', 'remove']) {
    const script = text(`sql/${name}_security_fields.sql`);
    expect(script).toContain(`interval := '${policy.deadline / 1000} s'`);
    expect(script).toContain(`interval := '${policy.firstSleep} ms'`);
    expect(script).toContain(`interval := '${policy.longestSleep} ms'`);
    expect(script).toContain(`interval := '${policy.lockBudget} ms'`);
    expect(script).toContain(`interval := '${policy.patienceWithAutovacuum} ms'`);
    expect(script).toContain(`float := ${policy.jitter};`);
    for (const size of ['batch', 'batchFrom'] as const) {
      expect(script).toContain(`integer := ${policy[size]};`);
    }
  }
  expect(text('sql/remove_security_fields.sql')).toContain(`<= ${policy.rewriteLimit} THEN -- bytes`);
});
