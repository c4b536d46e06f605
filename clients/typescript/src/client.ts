import { randomBytes } from "node:crypto";
import { Caller, type RetryObserver } from "./calls.js";
import { resolve, type ConnectionOptions } from "./connection.js";
import { ResultStream, save, type ResultsOptions } from "./downloads.js";
import { endedEarly, PolybatchError } from "./errors.js";
import { BatchServiceService, BatchState, type Batch } from "./generated/polybatch/v1/batches.js";
import { ResultFilter, type Manifest } from "./generated/polybatch/v1/results.js";
import { StatusServiceService } from "./generated/polybatch/v1/status.js";
import { parseLine, splitLines, type ResultLine } from "./results.js";
import type { Requests } from "./sources.js";
import { Transport, type Method } from "./transport.js";
import { submit, type SubmitOptions } from "./uploads.js";

export interface ClientOptions extends ConnectionOptions {
  /** Called before each wait for a service that is away, or broke off. */
  onRetry?: RetryObserver;
}

/** Of every method: an aborted signal ends it, with the signal's reason as the error. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface WatchOptions extends CallOptions {
  /** The revision that was seen before; only newer ones come. */
  lastRevision?: number;
}

const ENDED: ReadonlySet<BatchState> = new Set([
  BatchState.COMPLETED,
  BatchState.FAILED,
  BatchState.EXPIRED,
  BatchState.CANCELLED,
]);

/** In this version: of another one only the service knows whether it is of the end. */
const KNOWN: ReadonlySet<BatchState> = new Set(
  Object.values(BatchState).filter(
    (state) => state !== BatchState.UNSPECIFIED && state !== BatchState.UNRECOGNIZED,
  ),
);

/** The first one may be that of a service that is stopping. */
const ENDS_OF_UNKNOWN_STATE = 2;

/** Whether nothing more happens to a batch, apart from late answers. */
export function hasEnded(batch: Batch): boolean {
  return ENDED.has(batch.state);
}

/**
 * Client of polybatch. Close it, or declare it with `await using`.
 *
 * What the options leave out comes from the environment. Methods throw PolybatchError, or the file
 * system's errors. A service that is away, or breaks off, is waited for; then an upload, a watch or
 * a download goes on where it was.
 */
export class Client implements AsyncDisposable {
  readonly #transport: Transport;
  readonly #caller: Caller;
  readonly #closing = new AbortController();

  constructor(options: ClientOptions = {}) {
    const connection = resolve(options, process.env);
    this.#transport = new Transport(connection);
    this.#caller = new Caller(this.#transport, connection.wait, options.onRetry ?? (() => {}));
  }

  /**
   * Uploads JSON lines and makes a batch of them. `violations` of the error name bad lines
   * (INVALID_LINES), unless `skipInvalidLines` is set.
   */
  async submit(requests: Requests, options: SubmitOptions = {}): Promise<Batch> {
    return submit(this.#caller, requests, options, this.#signal(options));
  }

  /** Returns a batch as it is now. */
  async get(batchId: string, options: CallOptions = {}): Promise<Batch> {
    return this.call(BatchServiceService.getBatch, { batchId }, options);
  }

  /** Asks for the end of a batch; watch it to see it end. */
  async cancel(batchId: string, options: CallOptions = {}): Promise<Batch> {
    return this.call(BatchServiceService.cancelBatch, { batchId }, options);
  }

  /**
   * Yields snapshots of a batch with rising revisions, the last one when it has ended, be it in a
   * state that is not known here.
   */
  async *watch(
    batchId: string,
    options: WatchOptions = {},
  ): AsyncGenerator<Batch, void, undefined> {
    const signal = this.#signal(options);
    const attempts = this.#caller.attempts(signal);
    let revision = options.lastRevision ?? 0;
    let last: Batch | undefined;
    // Streams that ended with OK since then.
    let ends = 0;
    for (;;) {
      const request = { batchId, lastRevision: revision };
      const method = StatusServiceService.watchBatch;
      const before = revision;
      try {
        for await (const { batch } of this.#transport.replies(method, request, signal)) {
          attempts.progress();
          // A sign of life holds no batch; an old revision is a replica's lag.
          if (!batch || batch.revision <= revision) continue;
          revision = batch.revision;
          last = batch;
          ends = 0;
          yield batch;
          if (hasEnded(batch)) return;
        }
        // OK without anything new: the end was seen before, or the collector is going down.
        if (revision === before) {
          last = await this.get(batchId, { signal });
          if (last.revision > revision) {
            revision = last.revision;
            ends = 0;
            yield last;
          }
          if (hasEnded(last)) return;
        }
        if (last === undefined || KNOWN.has(last.state)) throw endedEarly("the watch");
        ends += 1;
        if (ends === ENDS_OF_UNKNOWN_STATE) return;
      } catch (error) {
        await attempts.pause(error);
      }
    }
  }

  /** Returns the batch once it has ended. */
  async wait(batchId: string, options: CallOptions = {}): Promise<Batch> {
    let last: Batch | undefined;
    for await (const batch of this.watch(batchId, options)) last = batch;
    if (last === undefined) throw new Error("a watch shows a batch at least once");
    return last;
  }

  /** Yields the lines of the results, in the order of the input. */
  async *results(
    batchId: string,
    options: ResultsOptions = {},
  ): AsyncGenerator<ResultLine, void, undefined> {
    for await (const raw of splitLines(this.resultChunks(batchId, options))) yield parseLine(raw);
  }

  /** Yields the bytes of the results as they come, in no relation to lines. */
  async *resultChunks(
    batchId: string,
    options: ResultsOptions = {},
  ): AsyncGenerator<Buffer, void, undefined> {
    yield* this.#resultStream(batchId, options).chunks();
  }

  /**
   * Writes the results to a file, whole or not at all. All lines are checked against the digest
   * of the manifest, which is returned; with a filter there is none.
   */
  async download(
    batchId: string,
    target: string,
    options: ResultsOptions = {},
  ): Promise<Manifest> {
    const all = (options.filter ?? ResultFilter.UNSPECIFIED) === ResultFilter.UNSPECIFIED;
    return save(() => this.#resultStream(batchId, options), target, all);
  }

  /**
   * Any call with one reply, of the service definitions in `polybatch/v1/*`, again while its
   * failure is one that passes. An empty `requestId` is made a random one. `timeout`: ms of one
   * attempt, a minute if left out.
   */
  async call<Request, Reply>(
    method: Method<Request, Reply>,
    request: Request,
    options: CallOptions & { timeout?: number } = {},
  ): Promise<Reply> {
    return this.#caller.unary(method, repeatable(request), this.#signal(options), options.timeout);
  }

  /** Ends open calls, with an error (CLIENT_CLOSED), and closes the connections. */
  async close(): Promise<void> {
    this.#closing.abort(new PolybatchError("the client is closed", { reason: "CLIENT_CLOSED" }));
    this.#transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #signal({ signal }: CallOptions): AbortSignal {
    const closing = this.#closing.signal;
    return signal === undefined ? closing : AbortSignal.any([closing, signal]);
  }

  #resultStream(batchId: string, options: ResultsOptions): ResultStream {
    const filter = options.filter ?? ResultFilter.UNSPECIFIED;
    return new ResultStream(this.#caller, batchId, filter, this.#signal(options));
  }
}

// Else a call whose answer was lost would make a second batch.
function repeatable<Request>(request: Request): Request {
  if (typeof request !== "object" || request === null) return request;
  if (!("requestId" in request) || request.requestId) return request;
  return { ...request, requestId: randomBytes(18).toString("base64url") };
}
