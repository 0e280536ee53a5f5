import { spawnSync } from 'node:child_process';

/**
 * Runs npm itself and gives its output. npm tells the scripts that it runs where it is: on Windows its command is
 * not a program.
 *
 * @throws Error with what npm said
 */
export function npm(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): string {
  const cli = process.env['npm_execpath'];
  const [program, before] = cli?.endsWith('.js') ? [process.execPath, [cli]] : ['npm', []];
  const { status, stdout, stderr } = spawnSync(program, [...before, ...args], {
    cwd,
    env: { ...process.env, npm_config_audit: 'false', npm_config_fund: 'false', ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(`npm ${args.join(' ')}\n${stdout}\n${stderr}`);
  return stdout;
}
