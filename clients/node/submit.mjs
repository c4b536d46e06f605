#!/usr/bin/env node
// Runs one batch: streams a JSONL file of requests up, watches the batch to its end, and
// streams the results down. What breaks on the way is continued where it broke.
//
// connection.mjs says where to connect and with which key, failures.mjs what to do when a call
// fails; the job itself is here. The contract is ../../protos/polybatch/v1, loaded as it stands;
// the comments there name every status that a call may end with. The gateway serves FileService
// and BatchService, the collector StatusService and ResultService.

import { createHash, randomBytes } from "node:crypto";
import { constants, createReadStream, rmSync } from "node:fs";
import { access, open, rename, stat } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import { callMetadata, connect } from "./connection.mjs";
import { BAD_INPUT, CallFailed, ERROR, Refusal, endedEarly, persist, say } from "./failures.mjs";

const USAGE = `Usage: node submit.mjs [options] REQUESTS.jsonl RESULTS.jsonl
       node submit.mjs --watch BATCH_ID RESULTS.jsonl

Uploads the requests, prints the batch's id, watches the batch, writes its results.

  --skip-invalid    run the good lines; bad ones come back as failed lines
  --lenient         leave out what a line asks for and its provider lacks
  --request-id ID   8 to 64 characters of [A-Za-z0-9_-]: run again with the same id, it goes
                    on with the same upload, or with the batch that was made of it
  --watch ID        go on with a batch that was made before
  --help

Environment, as for the Python client:
  POLYBATCH_GATEWAY, POLYBATCH_COLLECTOR   localhost:50051, localhost:50052; grpcs://host:port
                                           for TLS; several replicas separated by commas
  POLYBATCH_API_KEY                        else the file api-key in POLYBATCH_DATA_DIR (.polybatch)
  POLYBATCH_TLS                            1 or 0; else on unless both are this machine
  POLYBATCH_TLS_CA, POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY   PEM files

Exit codes: 0 all lines succeeded, 1 error, 2 bad input, 3 completed with failed lines,
4 failed, expired or cancelled, 130 Ctrl-C (a batch that was made goes on).`;

const LINES_FAILED = 3, BATCH_FAILED = 4, INTERRUPTED = 130; // exit codes, beside failures.mjs

const CHUNK_BYTES = 1024 * 1024; // the most that a message of an upload may hold
const CALL_TIMEOUT = 60_000; // ms, for calls with one reply; streams take what they take

// ---- Upload -------------------------------------------------------------------------------

async function submit(servers, metadata, file, uploadId, batch) {
  const size = (await stat(file)).size;
  let before = 0;
  return persist(servers, "gateway", async ({ FileService, BatchService }, progress) => {
    const status = await uploadStatus(FileService, metadata, uploadId);
    const offset = status.committed_size;
    if (offset > before) progress();
    before = offset;
    if (offset > size || (status.complete && offset !== size))
      throw new Refusal(BAD_INPUT, `the upload ${uploadId} is not of ${file} as it is now.`);
    const upload = { filename: path.basename(file), upload_id: uploadId, write_offset: offset };
    return submitFrom(BatchService, metadata, file, { upload, batch });
  });
}

function uploadStatus(service, metadata, uploadId) {
  return new Promise((resolve, reject) => {
    const request = { upload_id: uploadId }, deadline = Date.now() + CALL_TIMEOUT;
    service.GetUploadStatus(request, metadata, { deadline }, (error, status) => {
      if (error?.code === grpc.status.NOT_FOUND) resolve({ committed_size: 0, complete: false });
      else if (error) reject(error);
      else resolve(status);
    });
  });
}

async function submitFrom(service, metadata, file, spec) {
  let call, over = false, proceed = () => {};
  const reply = new Promise((resolve, reject) => {
    call = service.SubmitBatch(metadata, (error, batch) => {
      over = true; // an error may come at any time, also before everything is sent
      proceed();
      if (error) reject(error);
      else resolve(batch);
    });
  });
  reply.catch(() => {}); // it is awaited below, but may come earlier
  // One message at a time: the file is never in memory.
  const send = (message) =>
    new Promise((sent) => {
      if (over) return sent();
      proceed = sent;
      call.write(message, sent);
    });
  try {
    await send({ spec });
    const start = spec.upload.write_offset;
    for await (const chunk of createReadStream(file, { start, highWaterMark: CHUNK_BYTES })) {
      await send({ chunk });
      if (over) break;
    }
    // Without it the service takes the stream for broken off.
    await send({ finish: true });
    call.end();
    return await reply;
  } finally {
    call.cancel();
  }
}

// ---- Watch --------------------------------------------------------------------------------

const ENDED = /^BATCH_STATE_(COMPLETED|FAILED|EXPIRED|CANCELLED)$/;

async function watch(servers, metadata, batchId, show) {
  let revision = 0;
  return persist(servers, "collector", async ({ StatusService }, progress) => {
    const call = StatusService.WatchBatch({ batch_id: batchId, last_revision: revision }, metadata);
    try {
      for await (const { batch } of call) {
        progress();
        // A sign of life holds no batch; an old revision is a replica's lag.
        if (!batch || batch.revision <= revision) continue;
        revision = batch.revision;
        show(batch);
        if (ENDED.test(batch.state)) return batch;
      }
      throw endedEarly("watch");
    } finally {
      call.cancel();
    }
  });
}

// ---- Download -----------------------------------------------------------------------------

// Writes the results whole or not at all.
async function download(servers, metadata, batchId, target) {
  const name = `.${path.basename(target)}.${randomBytes(4).toString("hex")}.part`;
  const part = path.join(path.dirname(target), name);
  process.once("exit", () => rmSync(part, { force: true }));
  const file = await open(part, "wx");
  const digest = createHash("sha256");
  let header = null, received = 0;
  try {
    await persist(servers, "collector", async ({ ResultService }, progress) => {
      const results_revision = received ? header.results_revision : 0;
      const request = { batch_id: batchId, offset: received, results_revision };
      const call = ResultService.DownloadResults(request, metadata);
      try {
        for await (const reply of call) {
          if (reply.payload === "header") {
            header = reply.header;
            continue;
          }
          await file.appendFile(reply.chunk);
          digest.update(reply.chunk);
          received += reply.chunk.length;
          progress();
        }
        if (received !== header?.total_bytes) throw endedEarly("download");
      } finally {
        call.cancel();
      }
    });
    await file.sync();
  } finally {
    await file.close();
  }
  if (digest.digest("hex") !== header.manifest.results_sha256)
    throw new Refusal(ERROR, `what came is not what the manifest names: watch ${batchId} again.`);
  await rename(part, target);
}

// ---- The program --------------------------------------------------------------------------

// Shows a snapshot where it says more than counts that have moved on.
function shower() {
  let shown = "";
  return (batch) => {
    const counts = batch.request_counts;
    const state = batch.state.replace("BATCH_STATE_", "").toLowerCase();
    const reasons = [
      ...batch.errors.map((error) => `${error.code}: ${error.message}`),
      ...(batch.common_cause ? [`every line failed for one cause: ` +
        `${batch.common_cause.code}: ${batch.common_cause.message}`] : []),
      ...batch.shards.filter((shard) => shard.waiting_reason).slice(0, 5)
        .map((shard) => `${shard.model} waits: ${shard.waiting_reason}`),
    ];
    const percent = `${Math.floor(batch.progress_percent)} %`;
    const news = [state, percent, ...reasons].join("; ");
    if (news === shown) return;
    shown = news;
    const finished = counts.succeeded + unsuccessful(counts);
    const apart = ["failed", "cancelled", "expired"].filter((word) => counts[word])
      .map((word) => `, ${counts[word]} ${word}`);
    const text = `${batch.id}: ${batch.display_state} (${state}), ${percent}, ` +
      `${finished} of ${counts.total} lines${apart.join("")}`;
    say([text, ...reasons].join("; "));
  };
}

// Lines that ended without success.
function unsuccessful(counts) {
  return counts.failed + counts.cancelled + counts.expired;
}

function outcome(batch) {
  if (batch.state !== "BATCH_STATE_COMPLETED") return BATCH_FAILED;
  return unsuccessful(batch.request_counts) ? LINES_FAILED : 0;
}

function parse(argv) {
  const text = { type: "string" }, flag = { type: "boolean", default: false };
  const flags = { "skip-invalid": flag, lenient: flag, help: flag };
  const options = { ...flags, "request-id": text, watch: text };
  try {
    const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true });
    const wanted = values.help ? positionals.length : values.watch ? 1 : 2;
    if (positionals.length !== wanted) throw new Error(`${wanted} file names are needed.`);
    return { ...values, requests: positionals.at(-2), results: positionals.at(-1) };
  } catch (error) {
    throw new Refusal(BAD_INPUT, `${error.message}\n\n${USAGE}`);
  }
}

// Before anything is sent: nobody wants to pay for results that cannot be written.
async function checkFiles({ requests, results }) {
  const found = async (file) => stat(file).catch((error) => {
    if (error.code === "ENOENT") return null;
    throw new Refusal(BAD_INPUT, `${file} cannot be read (${error.code}).`);
  });
  if (requests && !(await found(requests))?.isFile())
    throw new Refusal(BAD_INPUT, `${requests} is not a file.`);
  if ((await found(results))?.isFile() === false)
    throw new Refusal(BAD_INPUT, `${results} exists and is not a regular file.`);
  const usable = (file, mode) => access(file, mode).catch((error) => {
    throw new Refusal(BAD_INPUT, `${file} cannot be used (${error.code}).`);
  });
  if (requests) await usable(requests, constants.R_OK);
  await usable(path.dirname(results), constants.W_OK);
}

let howToGoOn = "";
const FOR_GOOD = ["INVALID_ARGUMENT", "UNAUTHENTICATED", "NOT_FOUND"]; // the same again is no use

async function main(argv, environ) {
  const options = parse(argv);
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  await checkFiles(options);
  const metadata = callMetadata(environ);
  const servers = connect(environ);
  try {
    let batchId = options.watch;
    if (!batchId) {
      // One id for both: of the upload, to resume it, and of the batch, to make it once.
      const id = options["request-id"] || randomBytes(18).toString("base64url");
      howToGoOn = `to go on with this upload, run it again with --request-id ${id}`;
      const made = await submit(servers, metadata, options.requests, id, {
        request_id: id,
        skip_invalid_lines: options["skip-invalid"],
        lenient_translation: options.lenient,
      });
      batchId = made.id;
      console.log(batchId);
    }
    howToGoOn = `${batchId} goes on; watch it again with --watch ${batchId}`;
    const batch = await watch(servers, metadata, batchId, shower());
    try {
      await download(servers, metadata, batchId, options.results);
    } catch (error) {
      if (error.reason !== "NO_RESULTS") throw error; // it failed as such; that was shown
    }
    return outcome(batch);
  } finally {
    for (const { channel } of [...servers.gateway, ...servers.collector]) channel.close();
  }
}

function complain(error) {
  if (!(error instanceof Refusal || error instanceof CallFailed || error.syscall)) throw error;
  if (error instanceof Refusal) {
    process.stderr.write(`polybatch: ${error.message}\n`);
    return error.exitCode;
  }
  say(`polybatch: ${error.message} (${error.reason || error.code})`);
  for (const { field, description } of error.violations ?? []) say(`  ${field}: ${description}`);
  if (error.reason === "INVALID_LINES") {
    const lenient = Number(error.metadata.lenient_line_count);
    say(`${lenient ? `--lenient takes ${lenient} of them; ` : ""}--skip-invalid runs the others`);
  } else if (howToGoOn && !FOR_GOOD.includes(error.code)) {
    say(howToGoOn);
  }
  return error.exitCode ?? ERROR;
}

process.once("SIGINT", () => {
  process.stderr.write("\n");
  say(`polybatch: stopped${howToGoOn && `; ${howToGoOn}`}`);
  process.exit(INTERRUPTED);
});
process.exitCode = await main(process.argv.slice(2), process.env).catch(complain);
