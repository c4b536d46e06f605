// What went wrong, as the services say it.

import { status as Code, type ServiceError } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";

/** The name of a gRPC status, such as "NOT_FOUND". */
export type StatusName = keyof typeof Code;

/** The server that answers a call: the gateway takes batches, the collector gives results. */
export type ServerName = "gateway" | "collector";

/** One thing that is wrong with a request. Of a file: `field` is "line 7: body.model". */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

interface Details {
  readonly code?: StatusName;
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly Violation[];
  readonly retryAfter?: number | undefined;
}

/** Every error of this package, apart from those of the file system and the reason of a signal. */
export class PolybatchError extends Error {
  override readonly name = "PolybatchError";
  /** The gRPC status that a call ended with; undefined where no call did. */
  readonly code: StatusName | undefined;
  /** polybatch's own word, such as "INVALID_LINES"; where it has none, the same as `code`. */
  readonly reason: string;
  /** What goes with the reason: ids, sizes. */
  readonly metadata: Readonly<Record<string, string>>;
  /** At most 20, also where more is wrong. */
  readonly violations: readonly Violation[];
  /** Seconds to wait at least before the same again; undefined where the service named none. */
  readonly retryAfter: number | undefined;

  constructor(message: string, details: Details & ErrorOptions) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.reason = details.reason || details.code || "UNKNOWN";
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryAfter = details.retryAfter;
  }
}

/** Reason of what is wrong with certificates: unlike a broken connection it does not pass. */
export const TLS_FAILED = "TLS_FAILED";

const TLS_CAUSE = /certificate|altnames|SSL routines|EPROTO/i;
// grpc-js puts a connection's own error between words of its own.
const AROUND_CAUSE = /^.*Last error: (?:Error(?: \[\w+\])?: )?|\. Resolution note:.*$/gs;
// grpc-js's words for a connection that was closed at once, without an error.
const CLOSED_AT_ONCE = /^Failed to connect \(.*\)$/;
// And for what is no HTTP/2, such as an answer of the HTTP API or the alert of a TLS server.
const NO_HTTP2 = /^Protocol error/;

/** The error of a call that gRPC reports as failed. */
export function fromCall(error: ServiceError, server: ServerName, address: string): PolybatchError {
  const details = readDetails(error);
  const code = (Code[error.code] ?? "UNKNOWN") as StatusName;
  if (details.reason) return new PolybatchError(error.details, { code, ...details, cause: error });
  // From gRPC itself, or a proxy: it names no server.
  const cause = (error.details || error.message).replace(AROUND_CAUSE, "").trim();
  const failed = (code: StatusName, advice: string, reason?: string) =>
    new PolybatchError(`${server} at ${address}: ${cause}${advice}`, {
      ...details,
      code,
      reason: reason ?? code,
      cause: error,
    });
  if (code === "UNIMPLEMENTED" && cause === "No message received")
    return failed("UNAVAILABLE", " before the stream ended");
  if (code === "UNIMPLEMENTED")
    return failed(code, "; it may be older than this client, or check the addresses of gateway and collector");
  if (code !== "UNAVAILABLE") return failed(code, "");
  if (TLS_CAUSE.test(cause)) {
    const advice = "; check the certificate, POLYBATCH_TLS_CA and the address, or use grpc:// where no TLS is spoken";
    return failed(code, advice, TLS_FAILED);
  }
  if (CLOSED_AT_ONCE.test(cause))
    return failed(code, "; is TLS on at one end only, or a client certificate missing?");
  const variable = `POLYBATCH_${server.toUpperCase()}`;
  if (NO_HTTP2.test(cause))
    return failed(code, `; no gRPC is spoken there, or it is TLS: set ${variable} to the gRPC port, or use grpcs://`);
  return failed(code, `; does it run there? If not, set ${variable}`);
}

/** The error of a stream that ended with OK before its time: it is broken like any other. */
export function endedEarly(what: string): PolybatchError {
  return new PolybatchError(`${what} ended before its time`, {
    code: "UNAVAILABLE",
    reason: "STREAM_ENDED",
  });
}

function readDetails(error: ServiceError): Details {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  if (packed === undefined || typeof packed === "string") return {};
  const status = Status.decode(packed);
  // Else a proxy on the way has put another status in its place.
  if (status.code !== error.code) return {};
  let found: Details = {};
  for (const { typeUrl, value } of status.details) {
    switch (typeUrl.slice(typeUrl.lastIndexOf("/") + 1)) {
      case "google.rpc.ErrorInfo": {
        const { reason, metadata } = ErrorInfo.decode(value);
        found = { ...found, reason, metadata };
        break;
      }
      case "google.rpc.BadRequest": {
        const violations = BadRequest.decode(value).fieldViolations.map(
          ({ field, description }) => ({ field, description }),
        );
        found = { ...found, violations };
        break;
      }
      case "google.rpc.RetryInfo": {
        const delay = RetryInfo.decode(value).retryDelay;
        if (delay) found = { ...found, retryAfter: delay.seconds + delay.nanos / 1e9 };
        break;
      }
    }
  }
  return found;
}
