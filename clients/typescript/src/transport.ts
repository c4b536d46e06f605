// One attempt of one call. What fails is thrown as PolybatchError, an aborted signal's reason as
// it is.

import { Metadata, type ServiceError } from "@grpc/grpc-js";
import type { Connection } from "./connection.js";
import { fromCall, PolybatchError, type ServerName } from "./errors.js";
import { channelCredentials, connected, note, Replicas, type Replica } from "./replicas.js";

/** A method as the generated service definitions describe it. */
export interface Method<Request, Reply> {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Reply;
}

interface Call {
  cancel(): void;
}

const LONGEST_CONNECT = 20; // seconds

// The gateway serves all other services.
const OF_COLLECTOR = /^\/polybatch\.v1\.(Status|Result)Service\//;

export function serverOf(method: Method<never, unknown>): ServerName {
  return OF_COLLECTOR.test(method.path) ? "collector" : "gateway";
}

export class Transport {
  readonly #servers: Readonly<Record<ServerName, Replicas>>;
  readonly #metadata = new Metadata();
  readonly #connectWithin: number;

  constructor(connection: Connection) {
    this.#connectWithin = Math.min(Math.max(connection.wait, 1), LONGEST_CONNECT);
    const channel = channelCredentials(connection.tls, this.#connectWithin);
    this.#servers = {
      gateway: new Replicas("gateway", connection.gateway, channel),
      collector: new Replicas("collector", connection.collector, channel),
    };
    this.#metadata.set("authorization", `Bearer ${connection.apiKey}`);
  }

  /** One request, one reply, within `timeout` ms. */
  async unary<Request, Reply>(
    method: Method<Request, Reply>,
    request: Request,
    timeout: number,
    signal: AbortSignal,
  ): Promise<Reply> {
    const replica = await this.#turn(method, signal);
    const { path, requestSerialize, responseDeserialize } = method;
    let release = () => {};
    try {
      const reply = await new Promise<Reply>((resolve, reject) => {
        const call = replica.client.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          request,
          this.#metadata,
          { deadline: Date.now() + timeout },
          settle(resolve, reject),
        );
        release = cancelWith(signal, call);
      });
      note(replica, false);
      return reply;
    } catch (error) {
      throw failure(error, replica, signal);
    } finally {
      release();
    }
  }

  /** One request, a stream of replies. Leaving the loop ends the call. */
  async *replies<Request, Reply>(
    method: Method<Request, Reply>,
    request: Request,
    signal: AbortSignal,
  ): AsyncGenerator<Reply, void, undefined> {
    const replica = await this.#turn(method, signal);
    const { path, requestSerialize, responseDeserialize } = method;
    const call = replica.client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      this.#metadata,
    );
    // Once the loop is left nobody else listens, and a cancelled call ends with an error.
    call.on("error", () => {});
    const release = cancelWith(signal, call);
    try {
      for await (const reply of call as AsyncIterable<Reply>) {
        note(replica, false);
        yield reply;
      }
    } catch (error) {
      throw failure(error, replica, signal);
    } finally {
      release();
      call.cancel();
    }
  }

  /** A stream of requests, one reply, which may come before all is sent. */
  async upload<Request, Reply>(
    method: Method<Request, Reply>,
    requests: AsyncIterable<Request>,
    signal: AbortSignal,
  ): Promise<Reply> {
    const replica = await this.#turn(method, signal);
    const { path, requestSerialize, responseDeserialize } = method;
    const { promise, resolve, reject } = withResolvers<Reply>();
    const call = replica.client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      this.#metadata,
      settle(resolve, reject),
    );
    call.on("error", reject);
    const release = cancelWith(signal, call);
    let over = false;
    let proceed = () => {};
    // It may come at any time, also before everything is sent.
    const reply = promise.finally(() => {
      over = true;
      proceed();
    });
    reply.catch(() => {});
    // One at a time: the file is never in memory.
    const send = (request: Request) =>
      new Promise<void>((sent) => {
        if (over) return sent();
        proceed = sent;
        call.write(request, () => sent());
      });
    try {
      for await (const request of requests) {
        await send(request);
        if (over) break;
      }
      if (!over) call.end();
      const answer = await reply.catch((error: unknown) => {
        throw failure(error, replica, signal);
      });
      note(replica, false);
      return answer;
    } finally {
      release();
      call.cancel();
    }
  }

  close(): void {
    for (const replicas of Object.values(this.#servers)) replicas.close();
  }

  /** The replica for a call, once it is connected or has failed to; why, the call says. */
  async #turn(method: Method<never, unknown>, signal: AbortSignal): Promise<Replica> {
    signal.throwIfAborted();
    const server = serverOf(method);
    const replica = this.#servers[server].turn();
    if (await connected(replica, this.#connectWithin, signal)) return replica;
    signal.throwIfAborted();
    note(replica, true);
    const within = `no answer within ${this.#connectWithin} s`;
    throw new PolybatchError(
      `${server} at ${replica.address}: ${within}; does it run there? ` +
        `If not, set POLYBATCH_${server.toUpperCase()}`,
      { code: "UNAVAILABLE" },
    );
  }
}

function settle<Reply>(resolve: (reply: Reply) => void, reject: (error: Error) => void) {
  // gRPC calls with a reply where it calls without an error.
  return (error: ServiceError | null, reply?: Reply) =>
    error === null ? resolve(reply as Reply) : reject(error);
}

function cancelWith(signal: AbortSignal, call: Call): () => void {
  const cancel = () => call.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  return () => signal.removeEventListener("abort", cancel);
}

function failure(error: unknown, replica: Replica, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (!isServiceError(error)) return error;
  const failed: PolybatchError = fromCall(error, replica.server, replica.address);
  note(replica, failed.code === "UNAVAILABLE");
  return failed;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "metadata" in error && error.metadata instanceof Metadata;
}

// As Promise.withResolvers of Node.js 22.
function withResolvers<T>() {
  let resolve!: (value: T) => void, reject!: (error: Error) => void;
  const promise = new Promise<T>((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
}
