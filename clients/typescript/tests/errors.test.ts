import assert from "node:assert/strict";
import { test } from "node:test";
import { Metadata, status, type ServiceError } from "@grpc/grpc-js";
import { fromCall } from "../src/errors.js";
import { BadRequest, ErrorInfo, RetryInfo } from "../src/generated/google/rpc/error_details.js";
import { Status } from "../src/generated/google/rpc/status.js";

function ended(code: status, details: string, packed?: Status): ServiceError {
  const metadata = new Metadata();
  if (packed) metadata.set("grpc-status-details-bin", Buffer.from(Status.encode(packed).finish()));
  return Object.assign(new Error(`${code}: ${details}`), { code, details, metadata });
}

const any = (name: string, value: Uint8Array) => ({
  typeUrl: `type.googleapis.com/google.rpc.${name}`,
  value: Buffer.from(value),
});

const badLines = Status.create({
  code: status.INVALID_ARGUMENT,
  details: [
    any("ErrorInfo", ErrorInfo.encode(ErrorInfo.create({
      reason: "INVALID_LINES", metadata: { file_id: "file_1" },
    })).finish()),
    any("BadRequest", BadRequest.encode(BadRequest.create({
      fieldViolations: [{ field: "line 7: body.model", description: "is missing" }],
    })).finish()),
    any("Help", Buffer.from([1, 2, 3])),
  ],
});

test("reason, metadata and violations come from the details", () => {
  const found = fromCall(ended(status.INVALID_ARGUMENT, "1 line is bad", badLines), "gateway", "a:1");
  const { message, code, reason, metadata, violations, retryAfter } = found;
  assert.deepEqual({ message, code, reason, metadata, violations, retryAfter }, {
    message: "1 line is bad",
    code: "INVALID_ARGUMENT",
    reason: "INVALID_LINES",
    metadata: { file_id: "file_1" },
    violations: [{ field: "line 7: body.model", description: "is missing" }],
    retryAfter: undefined,
  });
});

test("the wait is in seconds, fractions too", () => {
  const retryInfo = RetryInfo.encode({ retryDelay: { seconds: 1, nanos: 500_000_000 } }).finish();
  const packed = Status.create({ code: status.RESOURCE_EXHAUSTED, details: [any("RetryInfo", retryInfo)] });
  const found = fromCall(ended(status.RESOURCE_EXHAUSTED, "too many", packed), "gateway", "a:1");
  assert.deepEqual([found.retryAfter, found.reason], [1.5, "RESOURCE_EXHAUSTED"]);
});

test("details of another status are a proxy's doing, and count for nothing", () => {
  const found = fromCall(ended(status.UNAVAILABLE, "upstream is gone", badLines), "gateway", "a:1");
  assert.deepEqual([found.code, found.reason, found.violations], ["UNAVAILABLE", "UNAVAILABLE", []]);
  assert.match(found.message, /^gateway at a:1: upstream is gone; .* POLYBATCH_GATEWAY$/);
});

test("gRPC's own words name the server, and a certificate as a cause that lasts", () => {
  const of = (details: string) => fromCall(ended(status.UNAVAILABLE, details), "collector", "b:2");
  const refused = of("round_robin: No connection established. Last error: Error: connect ECONNREFUSED b:2");
  assert.match(refused.message, /^collector at b:2: connect ECONNREFUSED b:2; does it run there\?/);
  const noHttp2 = of("No connection established. Last error: Error: Protocol error (2026-12-01T00:00:00.000Z)");
  assert.match(noHttp2.message, /Protocol error .*; no gRPC is spoken there, .* set POLYBATCH_COLLECTOR to the gRPC port/);
  const untrusted = of("No connection established. Last error: Error: self-signed certificate. Resolution note: ");
  assert.match(untrusted.message, /^collector at b:2: self-signed certificate; check the certificate/);
  assert.deepEqual([untrusted.code, untrusted.reason], ["UNAVAILABLE", "TLS_FAILED"]);
  const plain = of("Last error: Error: 80EC:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:a.c:350:\n");
  assert.match(plain.message, /wrong version number:a\.c:350:; check .*, or use grpc:\/\/ where no TLS is spoken$/);
});

test("a reply that is missing is a broken call, not an unknown one", () => {
  const found = fromCall(ended(status.UNIMPLEMENTED, "No message received"), "gateway", "a:1");
  assert.equal(found.code, "UNAVAILABLE");
});

test("a call that is not known there says which addresses to check", () => {
  const found = fromCall(ended(status.UNIMPLEMENTED, "Method not found!"), "gateway", "b:2");
  assert.equal(found.message, "gateway at b:2: Method not found!; it may be older than this client, or check the addresses of gateway and collector");
});
