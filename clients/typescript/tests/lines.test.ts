import assert from "node:assert/strict";
import { File } from "node:buffer";
import { appendFileSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { parseLine, splitLines } from "../src/results.js";
import { openSource, regroup } from "../src/sources.js";

async function* each(...texts: string[]) {
  for (const text of texts) yield Buffer.from(text);
}

async function all(pieces: AsyncIterable<Buffer>): Promise<string[]> {
  const found: string[] = [];
  for await (const piece of pieces) found.push(String(piece));
  return found;
}

test("a line may span any number of chunks, and the last one lack its newline", async () => {
  assert.deepEqual(await all(splitLines(each("a", "b\nc", "d", "e\n\nf\n", "g"))), ["ab", "cde", "f", "g"]);
  assert.deepEqual(await all(splitLines(each("a\n", "é"))), ["a", "é"]);
  assert.deepEqual(await all(splitLines(each())), []);
});

test("pieces of any size become messages of one size", async () => {
  assert.deepEqual(await all(regroup(each("ab", "", "cdefghi", "j"), 3)), ["abc", "def", "ghi", "j"]);
  assert.deepEqual(await all(regroup(each("abc"), 3)), ["abc"]);
  assert.deepEqual(await all(regroup(each(), 3)), []);
});

test("a blob is read again from any offset", async () => {
  const source = await openSource(new File(["abc", "def"], "requests.jsonl"));
  assert.equal(source.name, "requests.jsonl");
  assert.deepEqual(await all(regroup(source.read(2), 100)), ["cdef"]);
});

test("a line succeeds with an answer of 2xx and without an error", () => {
  const line = (fields: object) =>
    parseLine(Buffer.from(JSON.stringify({ id: "b-1", custom_id: "c", response: null, error: null, ...fields })));
  const response = { status_code: 200, request_id: "r", body: { choices: [] } };
  assert.equal(line({ response }).ok, true);
  assert.equal(line({ response: { ...response, status_code: 400 } }).ok, false);
  assert.equal(line({ response, error: { code: "x", message: "y" } }).ok, false);
  assert.equal(line({}).ok, false);
  assert.deepEqual(line({ response, cost: 0.25 }).response, { statusCode: 200, requestId: "r", body: { choices: [] } });
  for (const text of ["[1]", "null", "{", "{}"])
    assert.throws(() => parseLine(Buffer.from(text)), { reason: "LINE_UNREADABLE" });
});

test("a file that was changed meanwhile is not put together with what it was", async () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "polybatch-")), "requests.jsonl");
  writeFileSync(file, "abcdef");
  const source = await openSource(file);
  assert.deepEqual([source.name, await all(regroup(source.read(2), 100))], ["requests.jsonl", ["cdef"]]);
  appendFileSync(file, "g");
  await assert.rejects(all(regroup(source.read(2), 100)), { reason: "FILE_CHANGED" });
});
