// What went wrong, as the services say it, and whether to try again.

import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";

export const ERROR = 1, BAD_INPUT = 2; // exit codes

const FIRST_WAIT = 0.2, LONGEST_WAIT = 5; // seconds between attempts, doubling
const GIVE_UP_AFTER = 300; // seconds in which nothing got through
const CONNECT_WITHIN = 10; // the same for a service that has never answered

// The program's own word: what it was given cannot be used.
export class Refusal extends Error {
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

// Of google/rpc/status.proto and error_details.proto, what the services send.
const { root: rpc } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message FieldViolation { string field = 1; string description = 2; }
  message BadRequest { repeated FieldViolation field_violations = 1; }
`, { keepCase: true });

// What a call ended with.
export class CallFailed extends Error {
  constructor(error, { server, address }) {
    super(error.details || error.message);
    this.code = grpc.status[error.code];
    this.reason = ""; // polybatch's own word, such as INVALID_LINES
    this.metadata = {}; // what goes with it: ids, sizes
    this.violations = []; // of a file: {field: "line 7: body.model", description}, 20 at most
    this.retryAfter = null; // seconds
    this.#read(error);
    if (this.reason) return;
    const cause = this.message.replace(/.*Last error: (?:Error: )?|\. Resolution note:.*/g, "");
    this.message = `${server} at ${address}: ${cause}`;
    if (this.code === "UNAVAILABLE")
      this.message += `; does it run there? If not, set POLYBATCH_${server.toUpperCase()}`;
  }

  #read(error) {
    const [packed] = error.metadata.get("grpc-status-details-bin");
    if (!packed) return;
    const decode = (type, bytes) => rpc.lookupType(type).decode(bytes);
    const status = decode("google.rpc.Status", packed);
    // Else a proxy on the way has put another status in its place.
    if (status.code !== error.code) return;
    for (const { type_url, value } of status.details) {
      const type = type_url.slice(type_url.lastIndexOf("/") + 1);
      if (type === "google.rpc.ErrorInfo") {
        ({ reason: this.reason, metadata: this.metadata } = decode(type, value));
      } else if (type === "google.rpc.BadRequest") {
        this.violations = decode(type, value).field_violations;
      } else if (type === "google.rpc.RetryInfo") {
        const { seconds, nanos } = decode(type, value).retry_delay;
        this.retryAfter = Number(seconds) + nanos / 1e9;
      }
    }
  }

  // Whether the same again may succeed. Every call may be repeated; see ../README.md.
  passes(failures) {
    if (this.code === "RESOURCE_EXHAUSTED")
      return this.retryAfter !== null && this.reason !== "STORED_BYTES_LIMIT";
    if (["INTERNAL", "UNKNOWN", "DATA_LOSS"].includes(this.code)) return failures <= 3;
    return (
      ["UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED"].includes(this.code) ||
      this.reason === "WRITE_OFFSET_MISMATCH"
    );
  }

  get exitCode() {
    const input = ["INVALID_ARGUMENT", "OUT_OF_RANGE", "UNIMPLEMENTED"].includes(this.code);
    return input || /^(FILE_TOO_LARGE|TOO_MANY_LINES)$/.test(this.reason) ? BAD_INPUT : ERROR;
  }
}

// A stream that ended with OK before its time is broken like any other.
export const endedEarly = (what) => ({
  code: grpc.status.UNAVAILABLE,
  details: `the ${what} ended before its time`,
  metadata: new grpc.Metadata(),
});

const turns = { gateway: 0, collector: 0 };
const reached = new Set();

// Makes attempts, each at the next replica, until one succeeds or no further one makes sense.
// `attempt` is given the stubs of a replica, and a function to call when something got through.
export async function persist(servers, server, attempt) {
  let failures = 0, firstFailure = 0;
  const progress = () => {
    reached.add(server);
    failures = 0;
  };
  for (;;) {
    const replica = servers[server][turns[server]++ % servers[server].length];
    try {
      return await attempt(replica, progress);
    } catch (error) {
      if (!(error.metadata instanceof grpc.Metadata)) throw error; // not of a call
      const failed = new CallFailed(error, { server, address: replica.address });
      if (failed.reason) reached.add(server);
      if (failures++ === 0) firstFailure = Date.now();
      const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(failures - 1, 30));
      let wait = Math.max(ceiling * (0.5 + Math.random() / 2), failed.retryAfter ?? 0);
      if (failed.reason === "SERVER_STOPPING" && failures === 1) wait = 0;
      const limit = reached.has(server) ? GIVE_UP_AFTER : CONNECT_WITHIN;
      const over = (Date.now() - firstFailure) / 1000 + wait > limit;
      if (over || !failed.passes(failures)) throw failed;
      if (wait >= 1) say(`${failed.message}; trying again in ${wait.toFixed(0)} s`);
      await sleep(wait * 1000);
    }
  }
}

// Ids, models and messages come from files and providers; a terminal would obey them.
export const say = (text) => process.stderr.write(`${text.replace(/\p{C}/gu, "?")}\n`);
