import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../examples/submit.js", import.meta.url));

test("a terminal obeys nothing of what came from outside", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "polybatch-"));
  const variables = {
    POLYBATCH_GATEWAY: "127.0.0.1:1",
    POLYBATCH_COLLECTOR: "127.0.0.1:1",
    POLYBATCH_API_KEY: "pb-key",
    POLYBATCH_WAIT: "0",
  };
  const watch = ["--watch", "batch\u001b[2J\u202e", path.join(folder, "results.jsonl")];
  const { code, stderr } = await new Promise<{ code: unknown; stderr: string }>((done) =>
    execFile(process.execPath, [PROGRAM, ...watch], { env: variables }, (error, _, said) =>
      done({ code: error?.code, stderr: said }),
    ),
  );
  assert.equal(code, 1);
  assert.match(stderr, /^submit: collector at 127\.0\.0\.1:1: .* \(UNAVAILABLE\)\n/);
  assert.match(stderr, /--watch batch\?\[2J\?\n$/);
  assert.deepEqual(readdirSync(folder), []);
});
