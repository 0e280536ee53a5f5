import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startTestServer, type TestServer, testCluster } from './server';

declare global {
  var testServer: TestServer;
}

/** One server for the whole run. */
export default async function globalSetup(): Promise<void> {
  globalThis.testServer = await serverOfTests();
  Object.assign(process.env, whereTestsFind(globalThis.testServer));
}

export function serverOfTests(): Promise<TestServer> {
  return startTestServer(testCluster({ max_connections: '200', max_prepared_transactions: '5' }));
}

export function whereTestsFind({ url, log, cluster }: TestServer): NodeJS.ProcessEnv {
  return {
    TEST_SERVER_URL: url,
    TEST_SERVER_LOG: log,
    TEST_SERVER_VERSION: readFileSync(join(cluster.data, 'PG_VERSION'), 'utf8').trim(),
  };
}
