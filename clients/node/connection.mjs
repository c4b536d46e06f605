// Where to connect and with which key, from the environment: as clients/python's connection.py.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { ERROR, Refusal } from "./failures.mjs";

const TLS_SCHEME = /^(grpcs|https):\/\//;

// Stubs for each replica of the gateway and of the collector.
export function connect(environ) {
  const protos = fileURLToPath(new URL("../../protos/", import.meta.url));
  const files = ["files", "batches", "status", "results"];
  const { v1 } = grpc.loadPackageDefinition(
    protoLoader.loadSync(files.map((name) => `polybatch/v1/${name}.proto`), {
      includeDirs: [protos],
      keepCase: true,
      longs: Number, // sizes and offsets: exact up to 2^53
      enums: String,
      defaults: true,
      oneofs: true,
    }),
  ).polybatch;

  const here = localAddresses(environ);
  const named = {
    gateway: addresses(environ.POLYBATCH_GATEWAY || here.gateway),
    collector: addresses(environ.POLYBATCH_COLLECTOR || here.collector),
  };
  const credentials = channelCredentials([...named.gateway, ...named.collector], environ);
  const options = {
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.max_receive_message_length": -1,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 5_000,
    // Repeating is done here, where an upload knows its offset and a watch its revision.
    "grpc.enable_retries": 0,
    // A name may stand for several machines: all of them, by turns.
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  };
  const stubs = (names) => (address) => {
    const channel = new grpc.Channel(address, credentials, options);
    const stub = (name) => new v1[name](address, credentials, { channelOverride: channel });
    return { address, channel, ...Object.fromEntries(names.map((name) => [name, stub(name)])) };
  };
  const bare = (address) => address.replace(/^\w+:\/\//, "").replace(/\/+$/, "");
  return {
    gateway: named.gateway.map(bare).map(stubs(["FileService", "BatchService"])),
    collector: named.collector.map(bare).map(stubs(["StatusService", "ResultService"])),
  };
}

// What `make up` has left in the data folder while it runs, else the usual ports.
function localAddresses(environ) {
  const file = path.join(environ.POLYBATCH_DATA_DIR || ".polybatch", "addresses.json");
  const base = Number(environ.POLYBATCH_PORT_BASE || 50051);
  if (!existsSync(file)) return { gateway: `localhost:${base}`, collector: `localhost:${base + 1}` };
  try {
    return JSON.parse(readSetting("POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR", file).toString());
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(ERROR, `${file} does not hold addresses; start polybatch again.`);
  }
}

function addresses(text) {
  const found = text.split(",").map((part) => part.trim()).filter(Boolean);
  for (const address of found) {
    if (!/^((grpcs?|https):\/\/)?[^/]+:\d+\/?$|^(unix|dns|ipv4|ipv6):/.test(address))
      throw new Refusal(ERROR, `the address ${address} is not host:port.`);
  }
  return found;
}

// A key must not cross a network in the clear unless somebody asked for that.
function channelCredentials(all, environ) {
  const asked = (environ.POLYBATCH_TLS || "").trim().toLowerCase();
  if (!["", "1", "true", "yes", "on", "0", "false", "no", "off"].includes(asked))
    throw new Refusal(ERROR, `POLYBATCH_TLS is ${asked}; set it to 1 or 0.`);
  const off = ["0", "false", "no", "off"].includes(asked);
  const secure = all.find((address) => TLS_SCHEME.test(address));
  if (off && secure)
    throw new Refusal(ERROR, `POLYBATCH_TLS turns TLS off, but ${secure} asks for it.`);
  const local = /^(grpc:\/\/|unix:|localhost:|127\.[\d.]+:|\[::1\]:)/;
  if (off || (!asked && !secure && all.every((address) => local.test(address))))
    return grpc.credentials.createInsecure();
  const [ca, cert, key] = ["CA", "CLIENT_CERT", "CLIENT_KEY"].map((name) => {
    const file = environ[`POLYBATCH_TLS_${name}`];
    return file ? readSetting(`POLYBATCH_TLS_${name}`, file) : null;
  });
  try {
    return grpc.credentials.createSsl(ca, key, cert);
  } catch (error) {
    throw new Refusal(ERROR, `TLS: ${error.message}; check the POLYBATCH_TLS_* files.`);
  }
}

function readSetting(name, file) {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Refusal(ERROR, `${file} cannot be read (${error.code}); set ${name}.`);
  }
}

// Goes with every call.
export function callMetadata(environ) {
  const file = path.join(environ.POLYBATCH_DATA_DIR || ".polybatch", "api-key");
  const found = environ.POLYBATCH_API_KEY || readSetting("POLYBATCH_API_KEY", file).toString();
  const key = found.trim();
  if (!/^[\x20-\x7e]+$/.test(key))
    throw new Refusal(ERROR, "the API key is empty or has characters that no key has.");
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  return metadata;
}
