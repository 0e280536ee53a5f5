import { startTestServer, type TestServer, testCluster } from './server';

declare global {
  var testServer: TestServer;
}

/** One server for the whole run; the tests find it in TEST_SERVER_URL and TEST_SERVER_LOG. */
export default async function globalSetup(): Promise<void> {
  globalThis.testServer = await startTestServer(testCluster({ max_connections: '200' }));
  process.env['TEST_SERVER_URL'] = globalThis.testServer.url;
  process.env['TEST_SERVER_LOG'] = globalThis.testServer.log;
}
