// What charts.ts uses of these packages, which only the benchmark installs.
declare module 'vega' {
  export class View {
    constructor(runtime: unknown, options: { renderer: 'none' });
    toSVG(): Promise<string>;
  }
  export function parse(specification: unknown): unknown;
}
declare module 'vega-lite' {
  export function compile(specification: object, options: { logger: object }): { spec: unknown };
}
