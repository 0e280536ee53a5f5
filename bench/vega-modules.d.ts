declare function modules(): Promise<{
  vega: typeof import('vega');
  vegaLite: typeof import('vega-lite');
}>;
export = modules;
