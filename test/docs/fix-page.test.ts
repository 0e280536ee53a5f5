import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { declaredShape, shapeOf } from '../support/application';
import { everythingIn, schemaOf } from '../support/catalog';
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

testWithTools('which way: plan and rehearse', async () => {
  const before = await everything();
  for (const { stdout } of await follow('Which way')) {
    expect(stdout).toMatch('RENAME COLUMN backup_codes TO mfa_backup_codes');
  }
  expect(await everything()).toEqual(before);
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
);

/** What the script says where the page has it begin, and perhaps end, with something more. */
async function rehearsed(...around: readonly [first: string, last?: string]): Promise<string> {
  for (const part of around) expect(page.replaceAll('\n', ' ')).toContain(`\`${part}\``);
  const [command] = commandsOf('Option 1');
  const [first, last = ''] = around;
  const line = command?.line.replace(/-f \S+/, `${first} $& ${last}`) ?? '';
  const before = await everything();
  const { code, stderr } = await run('bash', ['-c', line], { DATABASE_URL: database.url });
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(await everything()).toEqual(before);
  return stderr;
}

testWithTools('option 1 between BEGIN and ROLLBACK does all and takes it back', async () => {
  expect(await rehearsed('-c BEGIN', '-c ROLLBACK')).toContain('ADD COLUMN external_id');
});

/** The block of "The statements", and the same of this very table. */
const [, statements = ''] = /^## The statements\n.*?^```sql\n(.*?)^```$/ms.exec(page) ?? [];
const ours = (text: string) => text.replace(/16412/g, oid).replace(/ehr_owner/g, database.owner);
let oid: string;
beforeEach(async () => {
  oid = (await database.client.query(`SELECT 'user_profiles'::regclass::oid::text AS oid`)).rows[0].oid;
});

testWithTools('the statements of the page are those that would be sent', async () => {
  const said = await rehearsed(`-c BEGIN -c "SET LOCAL table_change.dry = 'on'"`, '-c ROLLBACK');
  const sent = said
    .replace(/^.* a dry run, as .*\n/m, '')
    .replace(/^psql:.* INFO: {2}/gm, '')
    .replace(/CONSTRAINT \w+ (?=NOT NULL)/g, '');
  expect(sent).toBe(ours(statements));
});

testWithTools('the statements make what option 1 makes, and it takes them back', async () => {
  const before = await everything();
  await follow('Option 1', 0, 1);
  const made = await schemaOf(database.client);
  await follow('Option 1', -1);
  expect(await everything()).toEqual(before);

  await database.client.query(`BEGIN; ${ours(statements)} COMMIT`);
  expect(await schemaOf(database.client)).toEqual(made);
  await follow('Option 1', -1);
  expect(await everything()).toEqual(before);
});

testWithTools('option 3, verified and taken back; options 1 and 2 have nothing to take back', async () => {
  const before = await shapeOf(database.client);
  const outcomes = await follow('Option 3', 0, 3);
  expect(outcomes[2]?.stdout).toMatch('user_profiles is as declared.');
  const made = await everything();
  for (const [command, left] of [
    [0, 'do'],
    [-1, 'take back'],
  ] as const) {
    const [outcome] = await follow('Option 1', command, command + 1 || undefined);
    expect(outcome?.stderr).toMatch(`nothing to ${left}`);
  }
  expect(await everything()).toEqual(made);
  await follow('Option 3', 3);
  const left = { email_verification_token: 'character varying(255)' };
  expect(await shapeOf(database.client)).toEqual({ ...before, ...left });
});

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
  const line = commandsOf('Option 3')[1]?.line ?? '';
  const { code, stderr } = await run('bash', ['-c', line], { DATABASE_URL: database.url });
  expect({ code, stderr }).toMatchObject({ code: 3, stderr: expect.stringContaining('already exists') });
  expect(await everything()).toEqual(before);
});

testWithTools('verification, next steps and notes, after option 1', async () => {
  await follow('Option 1', 0, 1);
  await follow('Verification');
  await database.client.query(
    'UPDATE user_profiles SET mfa_enabled = true, mfa_backup_codes = \'["A1"]\' WHERE user_id = 1',
  );
  const [enrolled] = await follow('Next steps');
  expect(enrolled?.stdout).toMatch(/has_codes.*\n.*\n t +\| t/);
  await follow('Notes');
  expect(await shapeOf(database.client)).toEqual({ ...declaredShape, mfa_backup_codes: 'text' });
  const [outcome] = await follow('Verification', -1);
  expect(outcome?.stdout).toMatch('user_profiles is as declared.');
});

test('a prepared statement fails as the page says, and works when it is prepared again', async () => {
  const { client } = database;
  await client.query('PREPARE everything AS SELECT * FROM user_profiles; EXECUTE everything');
  await client.query(`BEGIN; ${ours(statements)} COMMIT`);
  const [, message = ''] = /`(cached plan\s+must [a-z ]*)`/.exec(page) ?? [];
  await expect(client.query('EXECUTE everything')).rejects.toThrow(message.replace(/\s+/g, ' '));
  await client.query(
    'DEALLOCATE everything; PREPARE everything AS SELECT * FROM user_profiles; EXECUTE everything',
  );
});
