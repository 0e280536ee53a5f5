// They wait while they load, which require() refuses: and that is what some transpilers make of import() in TypeScript.
module.exports = async () => ({ vega: await import('vega'), vegaLite: await import('vega-lite') });
