import assert from "node:assert/strict";
import { test } from "node:test";
import { PolybatchError, type StatusName } from "../src/errors.js";
import { Backoff } from "../src/retry.js";

const error = (code: StatusName, reason?: string, retryAfter?: number) =>
  new PolybatchError("it failed", { code, ...(reason && { reason }), retryAfter });

// Without jitter: the longest waits.
const backoff = (giveUpAfter = 120, clock = () => 0) => new Backoff(giveUpAfter, clock, () => 1);

test("which failures pass", () => {
  const cases: [PolybatchError, number | undefined][] = [
    [error("UNAVAILABLE"), 0.2],
    [error("ABORTED", "UPLOAD_CONFLICT"), 0.2],
    [error("CANCELLED"), 0.2],
    [error("DEADLINE_EXCEEDED"), 0.2],
    [error("INTERNAL"), 0.2],
    [error("FAILED_PRECONDITION", "WRITE_OFFSET_MISMATCH"), 0.2],
    [error("UNAVAILABLE", "SERVER_STOPPING"), 0],
    [error("RESOURCE_EXHAUSTED", "REQUEST_RATE_LIMIT", 1.5), 1.5],
    [error("RESOURCE_EXHAUSTED", "TOO_MANY_LINES"), undefined],
    [error("RESOURCE_EXHAUSTED", "STORED_BYTES_LIMIT", 1), undefined],
    [error("UNAVAILABLE", "TLS_FAILED"), undefined],
    [error("UNAUTHENTICATED", "API_KEY_REVOKED"), undefined],
    [error("FAILED_PRECONDITION", "BATCH_ENDED"), undefined],
    [new PolybatchError("the client is closed", { reason: "CLIENT_CLOSED" }), undefined],
  ];
  for (const [failed, wait] of cases)
    assert.equal(backoff().waitBeforeRetry(failed), wait, failed.reason);
});

test("waits double up to 5 s, and start over once something gets through", () => {
  const tried = backoff();
  const next = () => tried.waitBeforeRetry(error("UNAVAILABLE"));
  assert.deepEqual([next(), next(), next(), next(), next(), next(), next()], [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]);
  tried.progress();
  assert.equal(next(), 0.2);
  assert.equal(new Backoff(120, () => 0, () => 0).waitBeforeRetry(error("UNAVAILABLE")), 0.1);
});

test("a second replica that is being stopped is waited for", () => {
  const tried = backoff();
  tried.waitBeforeRetry(error("UNAVAILABLE", "SERVER_STOPPING"));
  assert.equal(tried.waitBeforeRetry(error("UNAVAILABLE", "SERVER_STOPPING")), 0.4);
});

test("what rarely passes is tried three times more", () => {
  const tried = backoff();
  const passed = Array.from({ length: 4 }, () => tried.waitBeforeRetry(error("INTERNAL")) !== undefined);
  assert.deepEqual(passed, [true, true, true, false]);
  assert.equal(tried.timedOut, false);
});

test("it gives up once nothing got through for so long, after a last attempt at that time", () => {
  let now = 0;
  const tried = backoff(10, () => now);
  tried.waitBeforeRetry(error("UNAVAILABLE"));
  now = 9.9;
  assert.equal(tried.waitBeforeRetry(error("UNAVAILABLE"))?.toFixed(6), "0.100000");
  assert.equal(tried.waitBeforeRetry(error("RESOURCE_EXHAUSTED", "LIMIT", 1)), undefined);
  assert.equal(tried.timedOut, true);
  now = 10;
  assert.equal(tried.waitBeforeRetry(error("UNAVAILABLE")), undefined);
  assert.equal(backoff(0).waitBeforeRetry(error("UNAVAILABLE")), undefined);
});
