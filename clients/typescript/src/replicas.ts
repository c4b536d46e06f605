// The replicas of the two servers, and which of them takes the next call.

import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import {
  Client,
  connectivityState,
  credentials,
  type ChannelCredentials,
  type ClientOptions,
} from "@grpc/grpc-js";
import type { Connection, TlsFiles } from "./connection.js";
import { PolybatchError, type ServerName } from "./errors.js";

const FIRST_REST = 1_000;
const LONGEST_REST = 10_000;

const CHANNEL_OPTIONS: ClientOptions = {
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // The services send up to 4 MiB; whatever they send is to be readable.
  "grpc.max_receive_message_length": -1,
  "grpc.initial_reconnect_backoff_ms": 200,
  "grpc.max_reconnect_backoff_ms": 5_000,
  // Repeating is done here, where an upload knows its offset and a watch its revision.
  "grpc.enable_retries": 0,
  // A connection is told of to the replica that it is of.
  "grpc.use_local_subchannel_pool": 1,
  // A name may stand for several machines: all of them, by turns.
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
};

export interface Replica {
  readonly server: ServerName;
  readonly address: string;
  readonly client: Client;
  /** UNAVAILABLE so often in a row. */
  failures: number;
  /** Until when it is left alone as long as another one can be asked; ms. */
  restsUntil: number;
  /** Whether nothing was said on its last connection. */
  silent: boolean;
}

export class Replicas {
  readonly #replicas: Replica[];
  // Not the first one: many programs make one call each.
  #next: number;

  constructor(server: ServerName, addresses: readonly string[], channel: Credentials) {
    this.#replicas = addresses.map((address) => {
      const told = (silent: boolean) => void (replica.silent = silent);
      const replica: Replica = {
        server,
        address,
        client: new Client(address, channel(told), CHANNEL_OPTIONS),
        failures: 0,
        restsUntil: 0,
        silent: false,
      };
      return replica;
    });
    this.#next = Math.floor(Math.random() * addresses.length);
  }

  /** The next one that does not rest; where all do, the one that has to rest least. */
  turn(): Replica {
    const now = performance.now();
    const order = [...this.#replicas.slice(this.#next), ...this.#replicas.slice(0, this.#next)];
    const rest = ({ restsUntil }: Replica) => Math.max(restsUntil - now, 0);
    const chosen = order.reduce((best, each) => (rest(each) < rest(best) ? each : best));
    this.#next = (this.#replicas.indexOf(chosen) + 1) % this.#replicas.length;
    return chosen;
  }

  close(): void {
    for (const { client } of this.#replicas) client.close();
  }
}

/** Takes in that a call to a replica has found it away, or there. */
export function note(replica: Replica, away: boolean): void {
  const now = performance.now();
  if (!away) {
    replica.failures = replica.restsUntil = 0;
  } else if (replica.restsUntil <= now) {
    // Calls that were under way together fail together: that is one failure.
    replica.restsUntil = now + Math.min(LONGEST_REST, FIRST_REST * 2 ** replica.failures);
    replica.failures += 1;
  }
}

/**
 * Waits until the connection is there, or has failed; false where the other side says nothing at
 * all. grpc-js would wait for it for ever, and so would a stream, which has no deadline.
 */
export async function connected(
  replica: Replica,
  seconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  const channel = replica.client.getChannel();
  const { IDLE, CONNECTING, READY } = connectivityState;
  const until = Date.now() + seconds * 1000;
  for (;;) {
    const state = channel.getConnectivityState(true);
    if (state !== IDLE && state !== CONNECTING) return state === READY || !replica.silent;
    if (Date.now() >= until) return false;
    await new Promise<void>((resolve) => {
      // Not gRPC's own timer: it would keep a program alive that has aborted.
      const timer = setTimeout(() => leave(), until - Date.now());
      const leave = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", leave);
        resolve();
      };
      signal.addEventListener("abort", leave);
      channel.watchConnectivityState(state, Infinity, leave);
    });
    signal.throwIfAborted();
  }
}

/** What makes the credentials of a channel, which is told whether nothing was said on it. */
export type Credentials = (told: (silent: boolean) => void) => ChannelCredentials;

/** `answerWithin`: seconds that the other side of a connection has for its first bytes. */
export function channelCredentials(tls: Connection["tls"], answerWithin: number): Credentials {
  if (tls === undefined)
    return (told) => impatient(credentials.createInsecure(), answerWithin, told);
  checkFiles(tls);
  return (told) => {
    const { ca, clientKey, clientCert } = tls;
    return impatient(credentials.createSsl(ca, clientKey, clientCert), answerWithin, told);
  };
}

// grpc-js would keep a connection on which nothing is ever said, and all attempts would wait for it.
function impatient(
  given: ChannelCredentials,
  seconds: number,
  told: (silent: boolean) => void,
): ChannelCredentials {
  // Typed but undocumented (grpc-js 1.14): without it a silent connection is kept, as it was.
  const create = (given as Partial<ChannelCredentials>)._createSecureConnector?.bind(given);
  if (create === undefined) return given;
  given._createSecureConnector = (...of) => {
    const connector = create(...of);
    const connect = connector.connect.bind(connector);
    connector.connect = (socket) => {
      told(false);
      const timer = setTimeout(() => {
        if (socket.bytesRead > 0) return;
        told(true);
        socket.destroy();
      }, seconds * 1000);
      // Only a call is to keep a program alive.
      timer.unref();
      socket.once("close", () => clearTimeout(timer));
      return connect(socket);
    };
    return connector;
  };
  return given;
}

// Else gRPC reports files that it cannot use as a server that cannot be reached.
function checkFiles({ ca, clientCert, clientKey }: TlsFiles): void {
  const check = (variables: string, parse: () => unknown) => {
    try {
      parse();
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      throw new PolybatchError(`a PEM file cannot be used: ${cause}; check ${variables}`, {
        reason: "TLS_FILE_UNUSABLE",
        cause: error,
      });
    }
  };
  if (ca) check("POLYBATCH_TLS_CA", () => new X509Certificate(ca));
  if (clientCert && clientKey)
    check("POLYBATCH_TLS_CLIENT_CERT and POLYBATCH_TLS_CLIENT_KEY", () =>
      createSecureContext({ cert: clientCert, key: clientKey }),
    );
}
