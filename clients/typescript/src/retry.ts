// When to try again, how long to wait first, and when to give up. Times are in seconds.

import { PolybatchError, TLS_FAILED } from "./errors.js";

/** How long nothing may get through: longer than any restart takes. */
export const DEFAULT_WAIT = 120;

const FIRST_WAIT = 0.2;
const LONGEST_WAIT = 5;

const TRANSIENT = new Set([
  "UNAVAILABLE",
  "ABORTED",
  "CANCELLED",
  "DEADLINE_EXCEEDED",
  "RESOURCE_EXHAUSTED",
]);
// Every call may be repeated, but these rarely pass by themselves.
const UNCLEAR = new Set(["INTERNAL", "UNKNOWN", "DATA_LOSS"]);
const UNCLEAR_LIMIT = 3;
// Another stream of the same upload was there, and took back what it had committed.
const CONTESTED = "WRITE_OFFSET_MISMATCH";
// Of transient codes, yet only what somebody does ends them.
const LASTING = new Set(["STORED_BYTES_LIMIT", "WEBHOOKS_LIMIT", TLS_FAILED]);
// The replica is being stopped, in order: there is another one, or soon will be.
const AT_ONCE = "SERVER_STOPPING";

/** The waits of one operation. */
export class Backoff {
  /** Whether the last failure would have passed, had there been more time. */
  timedOut = false;
  #failures = 0;
  #unclearFailures = 0;
  #firstFailure = 0;

  constructor(
    private readonly giveUpAfter: number,
    private readonly clock: () => number = () => performance.now() / 1000,
    private readonly random: () => number = Math.random,
  ) {}

  /** Something got through: the next failure is a first one again. */
  progress(): void {
    this.#failures = this.#unclearFailures = 0;
  }

  /** Seconds to wait before the next attempt; undefined where none makes sense. */
  waitBeforeRetry(error: PolybatchError): number | undefined {
    const now = this.clock();
    if (this.#failures === 0) this.#firstFailure = now;
    this.#failures += 1;
    this.timedOut = false;
    if (!this.#passes(error)) return undefined;
    const left = this.giveUpAfter - (now - this.#firstFailure);
    const asked = error.retryAfter ?? 0;
    if (left <= 0 || asked > left) {
      this.timedOut = true;
      return undefined;
    }
    if (error.reason === AT_ONCE && this.#failures === 1) return asked;
    const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(this.#failures - 1, 30));
    const wait = Math.max(ceiling * (0.5 + this.random() / 2), asked);
    // The last attempt comes when the time is over, not before.
    return Math.min(wait, left);
  }

  #passes(error: PolybatchError): boolean {
    if (error.code === undefined || LASTING.has(error.reason)) return false;
    if (UNCLEAR.has(error.code) || error.reason === CONTESTED) {
      this.#unclearFailures += 1;
      return this.#unclearFailures <= UNCLEAR_LIMIT;
    }
    if (error.code === "RESOURCE_EXHAUSTED" && error.retryAfter === undefined) return false;
    return TRANSIENT.has(error.code);
  }
}
