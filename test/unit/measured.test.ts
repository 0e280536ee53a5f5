import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chartData, colours, ink } from '../../bench/charts';
import type { Results } from '../../bench/measured';
import { withMeasured } from '../../bench/readme';
import { project } from '../support/knex';

const text = (path: string) => readFileSync(join(project, path), 'utf8');
const results: Results = JSON.parse(text('bench/results.json'));

test('the figures in the README are those that were measured', () => {
  expect(withMeasured(text('README.md'), results)).toBe(text('README.md'));
});

test.each(Object.entries(chartData(results)))('the chart %s shows what was measured', (name, data) => {
  const [, shown = ''] = /<metadata>(.*)<\/metadata>/.exec(text(`bench/charts/${name}.svg`)) ?? [];
  expect(JSON.parse(shown)).toEqual(data);
});

// WCAG 2.2, "Non-text contrast" (1.4.11) and large text (1.4.3): 3 to 1.
test.each(Object.entries({ ...colours, ink }))(
  'the colour of %s can be seen on a light and on a dark page',
  (_, colour) => {
    for (const page of ['#ffffff', '#0d1117']) expect(contrast(colour, page)).toBeGreaterThanOrEqual(3);
    for (const name of ['delay', 'rows', 'waits'])
      expect(text(`bench/charts/${name}.svg`)).not.toMatch(/fill="(white|#fff)/);
  },
);

function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
