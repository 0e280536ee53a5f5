import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { urlWith } from './database';

export interface TcpProxy {
  /** The same database by way of the proxy. */
  readonly url: (url: string) => string;
  /** Since the start or the last reset. A round trip: the client spoke, and then the server. */
  readonly counted: {
    connections: number;
    messages: number;
    roundTrips: number;
    toServer: number;
    toClient: number;
  };
  /** When the request of each round trip was passed on to the server, as performance.now(); since the last reset. */
  readonly requests: readonly number[];
  readonly reset: () => void;
  /** Drops every connection, and whoever tries anew. */
  readonly cut: () => void;
  /** Passes nothing on and closes nothing, as a firewall that has forgotten the connections. */
  readonly stall: () => void;
  /** Lets new connections through again; those that were stalled stay so. */
  readonly mend: () => void;
  readonly close: () => Promise<void>;
}

export interface ProxyOptions {
  /** Milliseconds each way. */
  readonly delay?: number;
  /** Called with every message of a client, before it is passed on; n counts from 1 and from the last reset. */
  readonly onMessage?: (n: number, bytes: number) => void;
}

/** A TCP proxy in front of a server. */
export async function startProxy(
  serverUrl: string,
  { delay = 0, onMessage = () => undefined }: ProxyOptions = {},
): Promise<TcpProxy> {
  const { hostname, port } = new URL(serverUrl);
  const sockets = new Set<Socket>();
  const stalled = new WeakSet<Socket>();
  const counted = { connections: 0, messages: 0, roundTrips: 0, toServer: 0, toClient: 0 };
  const requests: number[] = [];
  let isCut = false;
  let isStalling = false;

  const server = createServer({ noDelay: true }, (client) => {
    if (isCut) return client.destroy();
    const upstream = connect({ host: hostname, port: Number(port), noDelay: true });
    let clientSpokeLast = false;
    counted.connections++;
    pass(client, upstream, (bytes) => {
      counted.toServer += bytes;
      onMessage(++counted.messages, bytes);
      if (!clientSpokeLast) requests.push(performance.now() + delay);
      clientSpokeLast = true;
    });
    pass(upstream, client, (bytes) => {
      counted.toClient += bytes;
      if (clientSpokeLast) counted.roundTrips++;
      clientSpokeLast = false;
    });
    return undefined;
  });

  function pass(from: Socket, to: Socket, count: (bytes: number) => void) {
    sockets.add(from);
    if (isStalling) stalled.add(from);
    const later = (action: () => void) => {
      if (stalled.has(from)) return;
      if (delay === 0) action();
      else setTimeout(() => stalled.has(from) || action(), delay);
    };
    from.on('data', (chunk) => {
      if (!stalled.has(from)) count(chunk.length);
      later(() => to.write(chunk));
    });
    from.on('error', () => undefined);
    from.on('close', () => {
      sockets.delete(from);
      later(() => to.end());
    });
  }

  await once(server.listen(0, '127.0.0.1'), 'listening');
  const ownPort = String((server.address() as AddressInfo).port);
  return {
    url: (url) =>
      Object.assign(new URL(urlWith(url, { port: ownPort })), { hostname: '127.0.0.1' }).toString(),
    counted,
    requests,
    reset: () => {
      requests.length = 0;
      Object.assign(counted, { connections: 0, messages: 0, roundTrips: 0, toServer: 0, toClient: 0 });
    },
    cut: () => {
      isCut = true;
      for (const socket of sockets) socket.destroy();
    },
    stall: () => {
      isStalling = true;
      for (const socket of sockets) stalled.add(socket);
    },
    mend: () => {
      isCut = false;
      isStalling = false;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await once(server.close(), 'close');
    },
  };
}
