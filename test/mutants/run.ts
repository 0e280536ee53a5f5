import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { Command } from 'commander';
import { main } from '../../src/commands/main';
import { UserError } from '../../src/user-error';
import { connect } from '../support/database';
import { serverOfTests, whereTestsFind } from '../support/global-setup';
import type { TestServer } from '../support/server';
import { equivalent } from './equivalent';
import { type Mutant, mutantsOf } from './mutations';
import { texts } from './texts';

const project = join(__dirname, '../..');

const command = new Command('mutants')
  .description(
    'Changes the rendered program in one place at a time and runs the tests of rules and states against it.',
  )
  .addHelpText(
    'after',
    '\nExit code: 0 every mutant was killed or is known to be equivalent, 1 some survived.',
  )
  .option('--sample <n>', 'so many mutants, drawn at random, instead of all', Number)
  .option('--seed <n>', 'draws the same sample again', Number)
  .option('--skip <n>', 'leaves out so many, which a run that ended early has judged', Number, 0)
  .option('--match <text>', 'only mutants of lines with this text', '')
  .option('--list', 'shows the mutants and runs nothing')
  .action(async (options: { sample?: number; seed?: number; skip: number; match: string; list?: true }) => {
    const all = mutantsOf(texts).filter(({ line }) => line.includes(options.match));
    const seed = options.seed ?? Date.now() % 100_000;
    const mutants = options.sample === undefined ? all : drawn(all, options.sample, seed);
    console.log(`${mutants.length} of ${all.length} mutants (seed ${seed})`);
    if (options.list) return console.log(mutants.map(described).join('\n'));
    const judged = mutants.filter((mutant) => !isEquivalent(mutant)).slice(options.skip);
    const known = mutants.filter(isEquivalent).length;
    const survivors = await survivorsOf(judged);
    console.log(survivors.map((mutant) => `survived: ${described(mutant)}`).join('\n'));
    console.log(
      `${judged.length - survivors.length} killed, ${survivors.length} survived, ${known} known to be equivalent`,
    );
    process.exitCode = survivors.length > 0 ? 1 : 0;
  });

function isEquivalent({ line, mutated }: Mutant): boolean {
  return equivalent.some((one) => one.line === line.trim() && one.mutated === mutated.trim());
}

/**
 * The mutants that all tests pass with. Two at a time: each run is mostly a server at work. A server each: a mutant
 * that leaves a lock or writes a value to the log would kill its neighbour too.
 */
async function survivorsOf(mutants: readonly Mutant[]): Promise<Mutant[]> {
  const servers = await Promise.all([serverOfTests(), serverOfTests()]);
  await Promise.all(servers.map(letGoOfTheDead));
  const queue = [...mutants];
  const survivors: Mutant[] = [];
  const work = async (server: TestServer) => {
    for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
      const killer = await killerOf(mutant, server);
      if (!killer) survivors.push(mutant);
      console.log(
        `${mutants.length - queue.length}/${mutants.length} ${killer ? `killed by ${killer}` : 'SURVIVED'}: ${described(mutant)}`,
      );
    }
  };
  try {
    await Promise.all(servers.map(work));
    await expectToPass(servers);
  } finally {
    await Promise.all(servers.map(({ remove }) => remove()));
  }
  return survivors;
}

/** Ends what a killed run left at work on the server, such as a recursion that a mutant made endless. */
async function letGoOfTheDead({ url }: TestServer): Promise<void> {
  const client = await connect(url);
  await client.query("ALTER SYSTEM SET client_connection_check_interval = '1s'");
  await client.query('SELECT pg_reload_conf()');
  await client.end();
}

const unchanged: Mutant = { before: '', line: '', mutated: '' };

/**
 * A test that fails without a mutant, or since one left something behind on its server, has killed nothing.
 *
 * @throws UserError
 */
async function expectToPass(servers: readonly TestServer[]): Promise<void> {
  if (killers.length === 0) return;
  const failed = await Promise.all(servers.map((server) => killerOf(unchanged, server, killers)));
  const killer = failed.find(Boolean);
  if (killer) throw new UserError(`${killer} fails without any mutant: what it killed is not judged.`);
}

/** Test files, those that killed last in front. */
const killers: string[] = [];

/** The one of these test files (or of all) that fails, if any. A mutant that makes the tests hang is killed as well. */
async function killerOf(
  mutant: Mutant,
  server: TestServer,
  files: readonly string[] = [],
): Promise<string | undefined> {
  const word = join(await mkdtemp(join(tmpdir(), 'mutant-')), 'killer');
  const env = {
    ...whereTestsFind(server),
    MUTANT: JSON.stringify(mutant),
    FIRST: JSON.stringify(killers),
    KILLER: word,
  };
  const passed = await jestPasses(files, env);
  const killer = await readFile(word, 'utf8').catch(() => undefined);
  await rm(dirname(word), { recursive: true });
  if (killer !== undefined) {
    const others = killers.filter((one) => one !== killer);
    killers.splice(0, killers.length, killer, ...others);
  }
  return passed ? undefined : basename(killer ?? 'its time limit', '.test.ts');
}

function jestPasses(files: readonly string[], env: NodeJS.ProcessEnv): Promise<boolean> {
  const jest = [
    'node_modules/jest/bin/jest.js',
    '--config',
    'test/mutants/jest.config.js',
    '--runInBand',
    '--silent',
    ...files,
  ];
  const child = spawn(process.execPath, jest, {
    cwd: project,
    stdio: 'ignore',
    timeout: 1_800_000,
    killSignal: 'SIGKILL',
    env: { ...process.env, ...env },
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code === 0));
  });
}

/** So many of them at random: those whose hash is least, so that a line that changes draws no others anew. */
function drawn(all: readonly Mutant[], count: number, seed: number): Mutant[] {
  const hash = (mutant: Mutant) =>
    createHash('sha256')
      .update(`${seed} ${JSON.stringify(mutant)}`)
      .digest('hex');
  return all
    .map((mutant) => ({ mutant, hash: hash(mutant) }))
    .sort((a, b) => (a.hash < b.hash ? -1 : 1))
    .slice(0, count)
    .map(({ mutant }) => mutant);
}

function described({ line, mutated }: Mutant): string {
  return `${line.trim()}  ->  ${mutated.trim() || '(nothing)'}`;
}

main(command);
