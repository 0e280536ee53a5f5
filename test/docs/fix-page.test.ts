import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { declaredShape, shapeOf } from '../support/application';
import { everythingIn } from '../support/catalog';
import { databasePerTest, loadState, type TestDatabase } from '../support/database';
import { type Outcome, project, run } from '../support/knex';

const page = readFileSync(join(project, 'docs/FIX_MFA_SECURITY_FIELDS.md'), 'utf8');
const [, ...sections] = page.split(/^## /m);

/** Commands that need the application itself. The page says so behind each. */
const withTheApplication = [
  'python manage.py check',
  'python manage.py showmigrations healthcare',
  'python manage.py migrate healthcare 0016_add_security_fields --fake',
];

interface Command {
  readonly line: string;
  readonly exitCode: number;
}

/** The commands of a section, in their order; statements in SQL are one command, through psql. */
function commandsOf(title: string): Command[] {
  const section = sections.find((text) => text.startsWith(title)) ?? '';
  return [...section.matchAll(/^ *```(bash|sql)\n(.*?)^ *```$/gms)].flatMap(([, language, block = '']) => {
    if (language === 'sql') {
      return [{ line: `psql "$DATABASE_URL" -X -v ON_ERROR_STOP=1 <<'END'\n${block}END\n`, exitCode: 0 }];
    }
    return block
      .trim()
      .split('\n')
      .map((line) => {
        const [, code] = /# exit code ([0-9])$/.exec(line) ?? [];
        return { line: line.trim(), exitCode: Number(code ?? 0) };
      });
  });
}

const everywhere = sections.map((section) => section.split('\n', 1)[0] ?? '');
const here = ({ line }: Command) => !line.endsWith("# in the application's folder");
const tools = ['bash', 'psql'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
if (tools.length > 0) console.warn(`Without ${tools.join(' and ')} the commands of the page are not run.`);
const testWithTools = tools.length === 0 ? test : test.skip;

let database: TestDatabase;
const current = databasePerTest();
beforeEach(async () => {
  database = current();
  await loadState(database.client, '0015');
});

/** Runs the commands of a section, or some of them. */
async function follow(title: string, from = 0, to?: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const { line, exitCode } of commandsOf(title).filter(here).slice(from, to)) {
    const outcome = await run('bash', ['-c', line], { DATABASE_URL: database.url });
    expect({ line, ...outcome }).toMatchObject({ line, code: exitCode });
    outcomes.push(outcome);
  }
  return outcomes;
}

const everything = () => everythingIn(database.client);

test('it has commands that need the application, marked as such, and no others that are not run', () => {
  const all = everywhere.flatMap(commandsOf);
  expect(all.filter((command) => !here(command)).map(({ line }) => line.replace(/ +#.*$/, ''))).toEqual(
    withTheApplication,
  );
  expect(all.filter(here).length).toBeGreaterThan(15);
  // Every block of code is one of these, or what a program says.
  expect([...page.matchAll(/^ *```(.*)$/gm)].map(([, language]) => language)).toEqual(
    expect.arrayContaining(['bash', 'sql', '']),
  );
  for (const [, language, block] of page.matchAll(/^ *```([a-z]*)\n(.*?)^ *```$/gms)) {
    if (language === '') expect(block).toMatch(/^django\.db\.utils\.ProgrammingError: [^\n]*\n$/);
  }
});

test('its table of columns is the declaration', () => {
  for (const [name, shape] of Object.entries(declaredShape)) {
    const [, type, notNull, value] = /^(.*?)( NOT NULL)?(?: DEFAULT (.*))?$/.exec(shape) ?? [];
    expect(page).toContain(
      `\n| \`${name}\` | \`${type}\` | ${notNull ? 'no' : 'yes'} | ${value ? `\`${value}\` ` : ''}|\n`,
    );
  }
});

test('whatever takes back names the migration: without a name Knex takes back the last', () => {
  const examples = readdirSync(join(project, 'docs/examples')).map((name) => `docs/examples/${name}`);
  for (const name of ['README.md', 'docs/FIX_MFA_SECURITY_FIELDS.md', ...examples]) {
    const text = readFileSync(join(project, name), 'utf8');
    for (const [, rest] of text.matchAll(/knex migrate:down(.*)/g))
      expect(rest).toMatch(/^ 0016_add_security_fields\b/);
  }
});

test('its error is the server’s', async () => {
  const [, message = ''] = /ProgrammingError: (.*)/.exec(page) ?? [];
  await expect(
    database.client.query('INSERT INTO user_profiles (failed_login_attempts) VALUES (0)'),
  ).rejects.toThrow(message);
});

testWithTools('which way: plan', async () => {
  const [plan] = await follow('Which way');
  expect(plan?.stdout).toMatch('rename backup_codes to mfa_backup_codes');
});

testWithTools.each(['Option 1', 'Option 2'])(
  '%s is run, verified and taken back, a command at a time',
  async (title) => {
    const before = await everything();
    await follow(title, 0, -1);
    expect(await shapeOf(database.client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
    await follow(title, -1);
    expect(await everything()).toEqual(before);
  },
  60_000,
);

testWithTools('option 1 between BEGIN and ROLLBACK shows what it would do', async () => {
  const before = await everything();
  const [command] = commandsOf('Option 1');
  expect(page).toContain('put `-c BEGIN` before `-f` and `-c ROLLBACK` behind it');
  const line = command?.line.replace(/-f \S+/, '-c BEGIN $& -c ROLLBACK') ?? '';
  const { code, stderr } = await run('bash', ['-c', line], { DATABASE_URL: database.url });
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('add external_id') });
  expect(await everything()).toEqual(before);
});

testWithTools(
  'option 3 leaves what the page says that it leaves',
  async () => {
    const outcomes = await follow('Option 3', 0, 3);
    expect(outcomes[2]?.stdout).toMatch(
      /✗ email_verification_token .*\(left: widen .*\n✗ email_verified .*\(left: set the default/,
    );
    await follow('Option 1', 0, 1);
    expect(await shapeOf(database.client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
    await follow('Option 1', -1);
    await follow('Option 3', 3);
    const left = await shapeOf(database.client);
    expect(left).toMatchObject({ backup_codes: 'jsonb NOT NULL' });
    expect(left).not.toHaveProperty('external_id');
  },
  60_000,
);

testWithTools('option 3 where none of the ten is there: as declared', async () => {
  await database.client.query(
    'ALTER TABLE user_profiles DROP COLUMN email_verified, DROP COLUMN email_verification_token',
  );
  await follow('Option 3', 0, 2);
  expect(await shapeOf(database.client)).toEqual({ ...declaredShape, mfa_backup_codes: 'jsonb' });
});

testWithTools('option 3 does nothing at all where both names exist', async () => {
  await database.client.query('ALTER TABLE user_profiles ADD COLUMN mfa_backup_codes text');
  const before = await everything();
  const statements = commandsOf('Option 3')[1]?.line ?? '';
  const { code, stderr } = await run('bash', ['-c', statements], { DATABASE_URL: database.url });
  expect({ code, stderr }).toMatchObject({ code: 3, stderr: expect.stringContaining('already exists') });
  expect(await everything()).toEqual(before);
});

testWithTools(
  'verification and notes, after option 1',
  async () => {
    await follow('Option 1', 0, 1);
    await follow('Verification');
    await follow('Notes');
    expect(await shapeOf(database.client)).toEqual({ ...declaredShape, mfa_backup_codes: 'text' });
    const [outcome] = await follow('Verification', -1);
    expect(outcome?.stdout).toMatch('user_profiles is as declared.');
  },
  60_000,
);
