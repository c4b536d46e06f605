import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { connect as connectTo, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { Server, ServerCredentials, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { Client } from "../src/client.js";
import {
  Batch,
  BatchServiceService,
  BatchState,
  CreateBatchRequest,
  type SubmitBatchRequest,
} from "../src/generated/polybatch/v1/batches.js";
import { FileServiceService, UploadStatus, type GetUploadStatusRequest } from "../src/generated/polybatch/v1/files.js";
import {
  Manifest,
  ResultServiceService,
  ResultsHeader,
  type DownloadResultsResponse,
} from "../src/generated/polybatch/v1/results.js";
import { StatusServiceService, type WatchBatchResponse } from "../src/generated/polybatch/v1/status.js";

const NOBODY = "127.0.0.1:1"; // refuses connections
const servers: Server[] = [];
after(() => servers.forEach((server) => server.forceShutdown()));

/** The calls that a test needs, by name. */
type Handlers = Record<string, (call: any, reply: (error: object | null, message?: object) => void) => void>;

/** Where a polybatch listens that knows these calls. */
async function serve(handlers: Handlers): Promise<string> {
  const server = new Server();
  servers.push(server);
  for (const service of [BatchServiceService, FileServiceService, ResultServiceService, StatusServiceService])
    server.addService(service, handlers as UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, found) =>
      error ? reject(error) : resolve(found),
    ),
  );
  return `127.0.0.1:${port}`;
}

const connect = (address: string) => new Client({ gateway: address, collector: address, apiKey: "pb-key" });

/** A watch that shows one snapshot and then nothing more; `left` once its client has gone. */
function idleWatch() {
  let gone!: () => void;
  const left = new Promise<void>((resolve) => (gone = resolve));
  const watchBatch: Handlers[string] = (call) => {
    call.on("cancelled", gone);
    const shown: WatchBatchResponse = { batch: Batch.create({ id: "batch_1", revision: 1 }) };
    call.write(shown);
  };
  return { watchBatch, left };
}

test("an aborted signal ends a watch with its reason, and the call at the service", async () => {
  const { watchBatch, left } = idleWatch();
  await using client = connect(await serve({ watchBatch }));
  const controller = new AbortController();
  const reason = new Error("enough");
  const watching = async () => {
    for await (const { revision } of client.watch("batch_1", { signal: controller.signal })) {
      assert.equal(revision, 1);
      setImmediate(() => controller.abort(reason));
    }
  };
  await assert.rejects(watching, reason);
  await left;
  await assert.rejects(client.get("batch_1", { signal: controller.signal }), reason);
});

test("leaving the loop ends the call at the service", async () => {
  const { watchBatch, left } = idleWatch();
  await using client = connect(await serve({ watchBatch }));
  for await (const { id } of client.watch("batch_1")) {
    assert.equal(id, "batch_1");
    break;
  }
  await left;
});

test("closing the client ends what is open", async () => {
  const { watchBatch, left } = idleWatch();
  const client = connect(await serve({ watchBatch }));
  const watch = client.watch("batch_1");
  await watch.next();
  await Promise.all([assert.rejects(watch.next(), { reason: "CLIENT_CLOSED" }), client.close()]);
  await left;
  await assert.rejects(client.get("batch_1"), { reason: "CLIENT_CLOSED" });
});

test("a wait between attempts ends at once when the signal is aborted", async () => {
  const controller = new AbortController();
  const onRetry = () => controller.abort();
  await using client = new Client({ gateway: NOBODY, collector: NOBODY, apiKey: "pb-key", onRetry });
  await assert.rejects(client.get("batch_1", { signal: controller.signal }), { name: "AbortError" });
});

test("what takes connections and says nothing is given up", async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket)).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  await using client = new Client({ gateway: address, collector: address, apiKey: "pb-key", wait: 0 });
  const away = { reason: "UNAVAILABLE", message: new RegExp(`at ${address}: no answer within 1 s`) };
  await assert.rejects(client.watch("batch_1").next(), away);
  await assert.rejects(client.submit(new Blob(["{}\n"])), away);
  await assert.rejects(client.get("batch_1"), away);
  const controller = new AbortController();
  const watching = client.watch("batch_1", { signal: controller.signal }).next();
  controller.abort(new Error("enough"));
  await assert.rejects(watching, { message: "enough" });
  for (const socket of sockets) socket.destroy();
  silent.close();
});

test("a connection on which nothing is said is followed by another one", async () => {
  const address = await serve({ getBatch: (_, reply) => reply(null, Batch.create({ id: "batch_1" })) });
  const [host, port] = address.split(":");
  const sockets: Socket[] = [];
  const proxy = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    if (sockets.length === 1) return void socket.resume();
    const onward = connectTo(Number(port), host).on("error", () => {});
    socket.on("close", () => onward.destroy());
    socket.pipe(onward).pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const client = new Client({
    gateway: `127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    apiKey: "pb-key",
    wait: 3,
  });
  assert.equal((await client.get("batch_1")).id, "batch_1");
  assert.ok(sockets[0]?.closed, "the first connection is still open");
  await client.close();
  for (const socket of sockets) socket.destroy();
  proxy.close();
});

test("a file that is changed during its upload becomes no batch", async () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "polybatch-")), "requests.jsonl");
  writeFileSync(file, `${JSON.stringify({ custom_id: "x".repeat(3 * 1024 * 1024) })}\n`);
  let finished = false;
  const submitBatch: Handlers[string] = (call, reply) => {
    call.on("data", ({ payload }: SubmitBatchRequest) => {
      if (payload?.$case === "spec") truncateSync(file, 1_500_000);
      if (payload?.$case !== "finish") return;
      finished = true;
      reply(null, Batch.create({ id: "batch_1" }));
    });
  };
  await using client = connect(await serve({ submitBatch }));
  await assert.rejects(client.submit(file), { reason: "FILE_CHANGED" });
  assert.equal(finished, false);
});

test("a watch ends in a state of a later version, after the second OK", async () => {
  const asked: number[] = [];
  // As it is on the wire: what is written as UNRECOGNIZED is no number of any version.
  const batch = { ...Batch.create({ id: "batch_1", revision: 3 }), state: BatchState.UNRECOGNIZED };
  const watchBatch: Handlers[string] = (call) => {
    asked.push(call.request.lastRevision);
    if (call.request.lastRevision < 3) call.write({ batch } satisfies WatchBatchResponse);
    call.end();
  };
  const getBatch: Handlers[string] = (_, reply) => reply(null, batch);
  await using client = connect(await serve({ watchBatch, getBatch }));
  assert.equal((await client.wait("batch_1")).revision, 3);
  assert.deepEqual(asked, [0, 3]);
  for await (const { revision } of client.watch("batch_1", { lastRevision: 3 }))
    assert.fail(`revision ${revision} was seen before`);
  assert.deepEqual(asked, [0, 3, 3, 3]);
});

test("a replica that is away is left alone while another one answers", async () => {
  const address = await serve({ getBatch: (_, reply) => reply(null, Batch.create({ id: "batch_1" })) });
  const retries: string[] = [];
  await using client = new Client({
    gateway: `${NOBODY},${address}`,
    apiKey: "pb-key",
    onRetry: ({ message }) => retries.push(message),
  });
  for (let call = 0; call < 4; call += 1) assert.equal((await client.get("batch_1")).id, "batch_1");
  assert.ok(retries.length <= 1, `tried again ${retries.length} times`);
});

test("a request id names one upload of the same lines, and another one of others", async () => {
  const uploads: string[] = [];
  const asked: string[] = [];
  const address = await serve({
    getUploadStatus: (call: { request: GetUploadStatusRequest }, reply) => {
      asked.push(call.request.uploadId);
      reply(null, UploadStatus.create({ committedSize: 0 }));
    },
    submitBatch: (call, reply) => {
      call.on("data", ({ payload }: SubmitBatchRequest) => {
        if (payload?.$case !== "spec") return;
        const { upload, batch } = payload.value;
        uploads.push(upload?.uploadId ?? "");
        const { requestId = "", skipInvalidLines = false } = batch ?? {};
        reply(null, Batch.create({ id: requestId, skipInvalidLines }));
      });
    },
  });
  await using client = connect(address);
  const submit = (text: string, provider = "") =>
    client.submit(new Blob([text]), { requestId: "r", skipInvalidLines: true, defaultProvider: provider });
  const made = await submit("{}\n");
  assert.deepEqual([made.id, made.skipInvalidLines], ["r", true]);
  await submit("{}\n");
  await submit("{ }\n");
  await submit("{}\n", "openai");
  assert.equal(uploads[0], uploads[1]);
  assert.equal(new Set(uploads).size, 3);
  assert.deepEqual(asked, uploads);
});

test("a call makes one batch, however often it is tried again", async () => {
  const asked: string[] = [];
  const createBatch: Handlers[string] = (call: { request: CreateBatchRequest }, reply) => {
    asked.push(call.request.requestId);
    // The first one is made, and the answer is lost.
    if (asked.length === 1) reply({ code: status.UNAVAILABLE, details: "gone" });
    else reply(null, Batch.create({ id: "batch_1" }));
  };
  await using client = connect(await serve({ createBatch }));
  const request = CreateBatchRequest.create({ inputFileId: "file_1" });
  await client.call(BatchServiceService.createBatch, request);
  await client.call(BatchServiceService.createBatch, request);
  await client.call(BatchServiceService.createBatch, { ...request, requestId: "mine" });
  assert.match(asked[0] ?? "", /^[\w-]{20,64}$/);
  assert.deepEqual(asked, [asked[0], asked[0], asked[2], "mine"]);
  assert.notEqual(asked[0], asked[2]);
  assert.equal(request.requestId, "");
});

test("results that are not what the manifest names replace nothing and leave nothing", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "polybatch-"));
  const target = path.join(folder, "results.jsonl");
  writeFileSync(target, "before");
  const downloadResults: Handlers[string] = (call) => {
    const manifest = Manifest.create({ resultsSha256: "0".repeat(64) });
    const replies: DownloadResultsResponse["payload"][] = [
      { $case: "header", value: ResultsHeader.create({ totalBytes: 3, manifest }) },
      { $case: "chunk", value: Buffer.from("{}\n") },
    ];
    for (const payload of replies) call.write({ payload });
    call.end();
  };
  await using client = connect(await serve({ downloadResults }));
  await assert.rejects(client.download("batch_1", target), { reason: "DIGEST_MISMATCH" });
  await assert.rejects(client.download("batch_1", folder), { reason: "NOT_A_FILE" });
  assert.deepEqual([readdirSync(folder), readFileSync(target, "utf8")], [["results.jsonl"], "before"]);
});

test("a results file that finds no room is named", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "polybatch-"));
  const target = path.join(folder, "results.jsonl");
  const downloadResults: Handlers[string] = (call) => {
    const header = ResultsHeader.create({ totalBytes: 3, manifest: Manifest.create() });
    call.write({ payload: { $case: "header", value: header } });
    call.write({ payload: { $case: "chunk", value: Buffer.from("{}\n") } });
    call.end();
  };
  const file = await open(path.join(folder, "other"), "w");
  await file.close();
  // As Node.js reports it.
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC", syscall: "write" });
  t.mock.method(Object.getPrototypeOf(file), "appendFile", () => Promise.reject(full));
  await using client = connect(await serve({ downloadResults }));
  await assert.rejects(client.download("batch_1", target), {
    code: "ENOSPC",
    path: target,
    message: `ENOSPC: no space left on device, write '${target}'`,
  });
  assert.deepEqual(readdirSync(folder), ["other"]);
});
