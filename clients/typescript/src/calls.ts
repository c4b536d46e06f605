// Calls that are tried again. Every call of polybatch may be repeated.

import { setTimeout as sleep } from "node:timers/promises";
import { PolybatchError } from "./errors.js";
import { Backoff } from "./retry.js";
import type { Method, Transport } from "./transport.js";

const CALL_TIMEOUT = 60_000; // ms, of an attempt of a call with one reply; streams have none

/** Told before each wait what went wrong, and the seconds until the next attempt. */
export type RetryObserver = (error: PolybatchError, seconds: number) => void;

export class Caller {
  constructor(
    readonly transport: Transport,
    private readonly wait: number,
    private readonly onRetry: RetryObserver,
  ) {}

  attempts(signal: AbortSignal): Attempts {
    return new Attempts(new Backoff(this.wait), this.onRetry, signal);
  }

  /** One request, one reply, again while a failure is one that passes. */
  async unary<Request, Reply>(
    method: Method<Request, Reply>,
    request: Request,
    signal: AbortSignal,
    timeout = CALL_TIMEOUT,
  ): Promise<Reply> {
    const attempts = this.attempts(signal);
    for (;;) {
      try {
        return await this.transport.unary(method, request, timeout, signal);
      } catch (error) {
        await attempts.pause(error);
      }
    }
  }
}

/** The attempts of one operation. */
export class Attempts {
  constructor(
    private readonly backoff: Backoff,
    private readonly onRetry: RetryObserver,
    private readonly signal: AbortSignal,
  ) {}

  /** Something got through: the waits start over. */
  progress(): void {
    this.backoff.progress();
  }

  /**
   * Waits before the next attempt; throws the error where none makes sense. `gotThrough` is asked
   * before giving up, where that is not known otherwise.
   */
  async pause(error: unknown, gotThrough?: () => Promise<boolean>): Promise<void> {
    if (!(error instanceof PolybatchError)) throw error;
    let wait = this.backoff.waitBeforeRetry(error);
    if (wait === undefined && this.backoff.timedOut && (await gotThrough?.())) {
      this.progress();
      wait = this.backoff.waitBeforeRetry(error);
    }
    if (wait === undefined) throw error;
    this.onRetry(error, wait);
    try {
      await sleep(wait * 1000, undefined, { signal: this.signal });
    } catch (interruption) {
      this.signal.throwIfAborted();
      throw interruption;
    }
  }
}
