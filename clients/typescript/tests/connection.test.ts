import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { resolve, type ConnectionOptions } from "../src/connection.js";

const folder = mkdtempSync(path.join(tmpdir(), "polybatch-"));
const KEY = { POLYBATCH_API_KEY: "pb-key", POLYBATCH_DATA_DIR: folder };

const reasonOf = (options: ConnectionOptions, environ: Record<string, string>) => {
  try {
    resolve(options, environ);
  } catch (error) {
    return (error as { reason?: string }).reason;
  }
  return "";
};

test("addresses: options, then the environment, then the usual ports", () => {
  const usual = resolve({}, KEY);
  assert.deepEqual([usual.gateway, usual.collector], [["localhost:50051"], ["localhost:50052"]]);
  const moved = resolve({ gateway: "[::1]:1" }, { ...KEY, POLYBATCH_PORT_BASE: "9000" });
  assert.deepEqual([moved.gateway, moved.collector], [["[::1]:1"], ["localhost:9001"]]);
  const several = { ...KEY, POLYBATCH_GATEWAY: " grpcs://a:1/, https://b:2,grpcs://a:1/ ,dns:///c:3" };
  assert.deepEqual(resolve({}, several).gateway, ["a:1", "b:2", "dns:///c:3"]);
});

test("what `make up` has left in the data folder goes before the usual ports", () => {
  const mine = mkdtempSync(path.join(tmpdir(), "polybatch-"));
  const file = path.join(mine, "addresses.json");
  const environ = { ...KEY, POLYBATCH_DATA_DIR: mine };
  writeFileSync(file, JSON.stringify({ gateway: "127.0.0.1:7", collector: "127.0.0.1:8" }));
  assert.deepEqual(resolve({}, environ).collector, ["127.0.0.1:8"]);
  for (const text of ["null", "{}", "not json"]) {
    writeFileSync(file, text);
    assert.equal(reasonOf({}, environ), "ADDRESSES_UNREADABLE");
  }
});

test("a key crosses a network in the clear only where that was asked for", () => {
  const cases: [address: string, tls: string, on: boolean][] = [
    ["localhost:1", "", false],
    ["127.0.0.2:1", "", false],
    ["[::1]:1", "", false],
    ["unix:/run/it", "", false],
    ["example.com:1", "", true],
    ["10.0.0.1:1", "", true],
    ["127.example.com:1", "", true],
    ["grpc://example.com:1", "", false],
    ["grpcs://localhost:1", "", true],
    ["example.com:1", "0", false],
    ["localhost:1", "yes", true],
  ];
  for (const [gateway, tls, on] of cases) {
    const found = resolve({ gateway }, { ...KEY, POLYBATCH_TLS: tls }).tls !== undefined;
    assert.equal(found, on, `${gateway} with POLYBATCH_TLS=${tls}`);
  }
  assert.equal(resolve({ collector: "example.com:1" }, KEY).tls !== undefined, true);
});

test("what cannot be used is refused by name", () => {
  const cases: [string, ConnectionOptions, Record<string, string>][] = [
    ["ADDRESS_INVALID", { gateway: "localhost" }, KEY],
    ["ADDRESS_INVALID", { gateway: "http://localhost:1" }, KEY],
    ["ADDRESS_INVALID", { gateway: " , " }, KEY],
    ["PORT_BASE_INVALID", {}, { ...KEY, POLYBATCH_PORT_BASE: "65535" }],
    ["TLS_SETTING_INVALID", {}, { ...KEY, POLYBATCH_TLS: "maybe" }],
    ["TLS_SETTING_INVALID", { gateway: "grpcs://a:1", tls: false }, KEY],
    ["TLS_FILE_UNUSABLE", { tls: true, tlsCa: path.join(folder, "none") }, KEY],
    ["TLS_CLIENT_CERT_INCOMPLETE", { tls: true, tlsClientCert: fileURLToPath(import.meta.url) }, KEY],
    ["API_KEY_MISSING", {}, { POLYBATCH_DATA_DIR: folder }],
    ["API_KEY_INVALID", { apiKey: "pb\nkey" }, KEY],
    ["API_KEY_INVALID", { apiKey: "" }, KEY],
    ["WAIT_INVALID", {}, { ...KEY, POLYBATCH_WAIT: "soon" }],
    ["WAIT_INVALID", { wait: -1 }, KEY],
  ];
  for (const [reason, options, environ] of cases) assert.equal(reasonOf(options, environ), reason);
});

test("the key comes from the file of the data folder, without its newline", () => {
  const mine = mkdtempSync(path.join(tmpdir(), "polybatch-"));
  writeFileSync(path.join(mine, "api-key"), "pb-of-the-file\n");
  assert.equal(resolve({}, { POLYBATCH_DATA_DIR: mine }).apiKey, "pb-of-the-file");
});
