import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startTestServer, type TestServer, testCluster } from './server';

declare global {
  var testServer: TestServer;
}

/** One server for the whole run; the tests find it in TEST_SERVER_URL, TEST_SERVER_LOG and TEST_SERVER_VERSION. */
export default async function globalSetup(): Promise<void> {
  globalThis.testServer = await startTestServer(
    testCluster({ max_connections: '200', max_prepared_transactions: '5' }),
  );
  process.env['TEST_SERVER_URL'] = globalThis.testServer.url;
  process.env['TEST_SERVER_LOG'] = globalThis.testServer.log;
  const { data } = globalThis.testServer.cluster;
  process.env['TEST_SERVER_VERSION'] = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim();
}
