import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { project } from '../support/knex';

const text = (path: string) => readFileSync(join(project, path), 'utf8');
const pages = ['.', 'docs', 'findings'].flatMap((folder) =>
  readdirSync(join(project, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name)),
);

/** What a heading is called in a link. */
const anchors = (path: string) =>
  [...text(path).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );

test.each(pages)('the links of %s lead somewhere', (page) => {
  for (const [, link = ''] of text(page).matchAll(/\]\(([^)]+)\)/g)) {
    if (link.startsWith('https://')) continue;
    const [path, anchor] = link.split('#');
    const target = path ? join(dirname(page), path) : page;
    expect({ link, isThere: existsSync(join(project, target)) }).toEqual({ link, isThere: true });
    if (anchor) expect(anchors(target)).toContain(anchor);
  }
});

/** What jest would run in a folder. */
const testsIn = (folder: string) =>
  readdirSync(join(project, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((name) => name.endsWith('.test.ts'));

test('what EVIDENCE names is there to be run', () => {
  const evidence = text('docs/EVIDENCE.md');
  const named = [...evidence.matchAll(/`(?:npx jest|npm run test:deploy --) ([^`]*)`/g)].flatMap(
    ([, names = '']) => names.split(' '),
  );
  expect(named.length).toBeGreaterThan(25);
  const all = testsIn('test');
  expect(named.filter((name) => !all.some((path) => path.includes(name)))).toEqual([]);
  const [, fire = ''] = evidence.split(/^## /m);
  const suites = [...fire.matchAll(/^\| (`[^|]*) \|/gm)].flatMap(([, names = '']) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name]) => `test/fire/${name}.test.ts`),
  );
  expect(suites.sort()).toEqual(testsIn('test/fire').sort());
});

test('the newest version of the changelog is that of the package', () => {
  const [, newest] = /^## (.*)$/m.exec(text('CHANGELOG.md')) ?? [];
  const lock = JSON.parse(text('package-lock.json'));
  expect([JSON.parse(text('package.json')).version, lock.version, lock.packages[''].version]).toEqual([
    newest,
    newest,
    newest,
  ]);
});
