// What a program does with OpenAI's SDK: batch.mjs BASE_URL KEY FILE. Prints the results.
import assert from "node:assert/strict";
import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });

const file = await client.files.create({ file: fs.createReadStream(path), purpose: "batch" });
const made = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});
let batch = made;
while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  batch = await client.batches.retrieve(made.id);
}
await assert.rejects(client.batches.cancel(made.id), OpenAI.ConflictError);
const content = await client.files.content(batch.output_file_id);

// An upload in parts that cut lines in two, and in another order than they came.
const bytes = fs.readFileSync(path);
const upload = await client.uploads.create({
  bytes: bytes.length, filename: "parts.jsonl", mime_type: "application/jsonl", purpose: "batch",
});
const part = async (piece) =>
  (await client.uploads.parts.create(upload.id, { data: await toFile(piece, "part") })).id;
const second = await part(bytes.subarray(100));
const first = await part(bytes.subarray(0, 100));
const done = await client.uploads.complete(upload.id, { part_ids: [first, second] });
assert.equal(done.status, "completed");
const stored = await client.files.content(done.file.id);
assert.deepEqual(Buffer.from(await stored.arrayBuffer()), bytes);
const given_up = await client.uploads.create({
  bytes: 1, filename: "none.jsonl", mime_type: "application/jsonl", purpose: "batch",
});
assert.equal((await client.uploads.cancel(given_up.id)).status, "cancelled");

// Lists go on page by page.
const ids = async (pages) => {
  const found = [];
  for await (const each of pages) found.push(each.id);
  return found;
};
assert.ok((await ids(client.batches.list({ limit: 1 }))).includes(made.id));
const files = await ids(client.files.list({ limit: 1, purpose: "batch" }));
assert.ok(files.includes(file.id) && files.includes(done.file.id));
assert.ok((await ids(client.models.list())).includes("openai/gpt-4.1"));

// Errors are the SDK's own.
assert.equal((await client.files.delete(done.file.id)).deleted, true);
await assert.rejects(client.files.retrieve(done.file.id), OpenAI.NotFoundError);
await assert.rejects(
  client.batches.create({ input_file_id: file.id, endpoint: "/v1/nothing", completion_window: "24h" }),
  (error) => error instanceof OpenAI.BadRequestError && error.param === "endpoint",
);
const stranger = new OpenAI({ baseURL, apiKey: "wrong" });
await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);

process.stdout.write(await content.text());
