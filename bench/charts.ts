import type { Results } from './measured';
import { chartTitles } from './readme';
import modules from './vega-modules';

/** Colours that can be told apart, by everybody, on a white page and on a dark one. */
export const colours: Readonly<Record<string, string>> = {
  ours: '#1a85ff',
  knex: '#d35fb7',
  'node-pg-migrate': '#c7781e',
  'separate-alters': '#2f9e62',
  'one-alter': '#848484',
};
export const ink = '#7b7b7b';

interface Point {
  readonly tool: string;
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** Figures by tool and then by x, as points. */
function points(results: Results, figures: Results['lockByDelay']) {
  return Object.keys(colours).flatMap((id) =>
    Object.entries(figures[id] ?? {}).map(([x, { median, low, high }]): Point & { x: number } => ({
      tool: results.labels[id] ?? id,
      x: Number(x),
      median,
      low,
      high,
    })),
  );
}

const scenarios = {
  underLoad: 'under load',
  behindTransaction: 'behind a transaction of 8 s',
  batch: 'in a batch with 5 s of other work',
} as const;

/** What each chart shows, as its data. */
export function chartData(results: Results) {
  return {
    delay: points(results, results.lockByDelay),
    rows: points(results, results.lockByRows),
    standby: points(results, results.lockByStandby),
    waits: (Object.keys(scenarios) as (keyof typeof scenarios)[]).flatMap((scenario) =>
      Object.keys(colours).flatMap((id) => {
        const figure = results.waits[scenario][id];
        if (!figure) return [];
        return [
          { tool: results.labels[id] ?? id, scenario: scenarios[scenario], seconds: figure.median / 1_000 },
        ];
      }),
    ),
  };
}

/** The charts as SVG, by name. Each has its data in it, as text. */
export async function charts(results: Results): Promise<Record<string, string>> {
  const data = chartData(results);
  return {
    delay: await svg(
      chartTitles.delay,
      data.delay,
      lines(results, data.delay, 'network delay, milliseconds each way', 'linear'),
    ),
    rows: await svg(chartTitles.rows, data.rows, lines(results, data.rows, 'rows of the table', 'log')),
    standby: await svg(
      chartTitles.standby,
      data.standby,
      lines(
        results,
        data.standby,
        'milliseconds until a synchronous standby has confirmed a COMMIT (0: no standby)',
        'linear',
      ),
    ),
    waits: await svg(chartTitles.waits, data.waits, bars(results)),
  };
}

async function svg(title: string, values: readonly object[], specification: object): Promise<string> {
  const { vega, vegaLite } = await modules();
  const { spec } = vegaLite.compile(
    {
      $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
      title: { text: title, anchor: 'start', fontSize: 15, offset: 12 },
      data: { values },
      background: 'transparent',
      padding: 8,
      config: {
        font: 'system-ui, sans-serif',
        title: { color: ink },
        axis: {
          labelColor: ink,
          titleColor: ink,
          domainColor: ink,
          tickColor: ink,
          gridColor: ink,
          gridOpacity: 0.25,
          titleFontWeight: 'normal',
          labelFontSize: 11,
          titleFontSize: 12,
        },
        header: { labelColor: ink, titleColor: ink, labelFontSize: 12 },
        legend: { labelColor: ink, titleColor: ink, labelFontSize: 12, symbolOpacity: 1 },
        view: { stroke: null },
      },
      ...specification,
    },
    { logger },
  );
  const text = await new vega.View(vega.parse(spec), { renderer: 'none' }).toSVG();
  return text.replace(
    /(<svg[^>]*>)/,
    `$1\n<title>${title}</title>\n<metadata>${JSON.stringify(values)}</metadata>\n`,
  );
}

/** Warnings are about what may go wrong with other data: one dropped, an error is thrown. */
const logger = {
  level: () => 0,
  error: (message: string) => {
    throw new Error(message);
  },
  warn: () => logger,
  info: () => logger,
  debug: () => logger,
};

function colour(results: Results, legend: object | null = { title: null, orient: 'bottom' }) {
  const ids = Object.keys(colours);
  return {
    field: 'tool',
    type: 'nominal',
    scale: { domain: ids.map((id) => results.labels[id]), range: Object.values(colours) },
    legend,
  };
}

/** Lock time over something: medians, and a bar between what the middle half of the measurements lies. */
function lines(
  results: Results,
  shown: readonly { readonly x: number }[],
  xTitle: string,
  xScale: 'linear' | 'log',
) {
  const x = {
    field: 'x',
    type: 'quantitative',
    title: xTitle,
    scale: { type: xScale, nice: false, ...(xScale === 'linear' && { domainMin: 0 }) },
    axis: {
      values: [...new Set(shown.map((point) => point.x))],
      format: ',d',
      grid: false,
    },
  };
  const scale = { type: 'log' };
  return {
    width: 520,
    height: 260,
    encoding: { x, color: colour(results) },
    layer: [
      {
        mark: { type: 'rule', strokeWidth: 2, opacity: 0.5 },
        encoding: { y: { field: 'low', type: 'quantitative', scale }, y2: { field: 'high' } },
      },
      {
        mark: { type: 'line', strokeWidth: 2.5, point: { size: 50, filled: true } },
        encoding: {
          y: {
            field: 'median',
            type: 'quantitative',
            scale,
            title: 'ACCESS EXCLUSIVE held, milliseconds',
            axis: { values: [1, 3, 10, 30, 100, 300, 1000], format: ',d' },
          },
        },
      },
    ],
  };
}

function bars(results: Results) {
  return {
    spacing: 14,
    facet: {
      row: {
        field: 'scenario',
        title: null,
        sort: Object.values(scenarios),
        header: { labelAngle: 0, labelAlign: 'left', labelOrient: 'top', labelAnchor: 'start' },
      },
    },
    resolve: { scale: { y: 'independent' } },
    spec: {
      width: 520,
      height: { step: 20 },
      encoding: {
        y: { field: 'tool', type: 'nominal', title: null, sort: null },
        x: {
          field: 'seconds',
          type: 'quantitative',
          title: 'longest wait of a statement of the application, seconds',
        },
      },
      layer: [
        { mark: { type: 'bar', height: 14 }, encoding: { color: colour(results, null) } },
        {
          mark: { type: 'text', align: 'left', dx: 5, color: ink, fontSize: 11 },
          encoding: { text: { field: 'seconds', type: 'quantitative', format: '.2f' } },
        },
      ],
    },
  };
}
