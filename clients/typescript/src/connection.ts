// Where to connect and with which key: options first, then the environment, then defaults.

import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import path from "node:path";
import { PolybatchError } from "./errors.js";
import { DEFAULT_WAIT } from "./retry.js";

/** What is left out is taken from the environment variable that is named. */
export interface ConnectionOptions {
  /**
   * `host:port` of the gateway, or several replicas separated by commas; `grpcs://` in front asks
   * for TLS. POLYBATCH_GATEWAY, else what `make up` has left in the data folder, else
   * localhost:50051.
   */
  gateway?: string | undefined;
  /** The same of the collector. POLYBATCH_COLLECTOR, else localhost:50052. */
  collector?: string | undefined;
  /** POLYBATCH_API_KEY, else the file `api-key` in POLYBATCH_DATA_DIR (`.polybatch`). */
  apiKey?: string | undefined;
  /** POLYBATCH_TLS; else TLS is on unless both servers are on this machine. */
  tls?: boolean | undefined;
  /** PEM file of the certificate authority. POLYBATCH_TLS_CA, else those that Node.js brings. */
  tlsCa?: string | undefined;
  /** PEM file of the caller's certificate, for mutual TLS. POLYBATCH_TLS_CLIENT_CERT. */
  tlsClientCert?: string | undefined;
  /** PEM file of its key, not encrypted. POLYBATCH_TLS_CLIENT_KEY. */
  tlsClientKey?: string | undefined;
  /**
   * Seconds in which nothing gets through before an error is raised; 0: it is raised at once.
   * POLYBATCH_WAIT, else 120.
   */
  wait?: number | undefined;
}

/** Contents of PEM files; null: not given. */
export interface TlsFiles {
  readonly ca: Buffer | null;
  readonly clientCert: Buffer | null;
  readonly clientKey: Buffer | null;
}

export interface Connection {
  /** Addresses of the replicas, without a scheme. */
  readonly gateway: readonly string[];
  readonly collector: readonly string[];
  readonly apiKey: string;
  /** undefined: in the clear. */
  readonly tls: TlsFiles | undefined;
  /** Seconds. */
  readonly wait: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

const TLS_SCHEME = /^(grpcs|https):\/\//;
const YES = ["1", "true", "yes", "on"];
const NO = ["0", "false", "no", "off"];

/** Throws PolybatchError for what cannot be used; its message says what to set instead. */
export function resolve(options: ConnectionOptions, environ: Environment): Connection {
  let gateway = options.gateway || environ.POLYBATCH_GATEWAY;
  let collector = options.collector || environ.POLYBATCH_COLLECTOR;
  if (!gateway || !collector) {
    const local = localAddresses(environ);
    gateway ||= local.gateway;
    collector ||= local.collector;
  }
  const named = { gateway: split("gateway", gateway), collector: split("collector", collector) };
  return {
    gateway: named.gateway.map(bare),
    collector: named.collector.map(bare),
    apiKey: findKey(options, environ),
    tls: tlsIsOn(options, environ, [...named.gateway, ...named.collector])
      ? tlsFiles(options, environ)
      : undefined,
    wait: waitSeconds(options, environ),
  };
}

function dataFolder(environ: Environment): string {
  return environ.POLYBATCH_DATA_DIR || ".polybatch";
}

// What `make up` has left in the data folder while it runs, else the usual ports.
function localAddresses(environ: Environment): { gateway: string; collector: string } {
  const file = path.join(dataFolder(environ), "addresses.json");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    // Nothing runs from that folder, or it is somebody else's.
    return usualAddresses(environ);
  }
  try {
    const { gateway, collector } = JSON.parse(text) as Record<string, unknown>;
    if (typeof gateway === "string" && typeof collector === "string") return { gateway, collector };
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  throw unusable(
    "ADDRESSES_UNREADABLE",
    `the file ${file} does not hold the addresses of gateway and collector; ` +
      "start polybatch again, which writes it, or set POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR",
  );
}

function usualAddresses(environ: Environment): { gateway: string; collector: string } {
  const text = environ.POLYBATCH_PORT_BASE?.trim() || "50051";
  const base = /^\d+$/.test(text) ? Number(text) : 0;
  if (base < 1 || base > 65_534)
    throw unusable(
      "PORT_BASE_INVALID",
      `POLYBATCH_PORT_BASE is "${text}"; set it to the first of the ports that polybatch listens on`,
    );
  return { gateway: `localhost:${base}`, collector: `localhost:${base + 1}` };
}

function split(name: string, text: string): string[] {
  const found = text.split(",").map((part) => part.trim()).filter(Boolean);
  if (found.length === 0) found.push(text);
  for (const address of found) {
    if (!/^(unix|dns|ipv4|ipv6):.|^((grpcs?|https):\/\/)?[^/]+:\d+\/?$/.test(address))
      throw unusable(
        "ADDRESS_INVALID",
        `the ${name} address "${address}" is not host:port; give one such as localhost:50051, ` +
          `or several separated by commas (POLYBATCH_${name.toUpperCase()})`,
      );
  }
  return [...new Set(found)];
}

function bare(address: string): string {
  return address.replace(/^(grpcs?|https):\/\//, "").replace(/\/+$/, "");
}

// Whether it can only be this machine.
function isLocal(address: string): boolean {
  if (address.startsWith("unix:")) return true;
  const host = address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

function tlsIsOn(options: ConnectionOptions, environ: Environment, all: string[]): boolean {
  const asked = options.tls ?? tlsSetting(environ);
  const secure = all.find((address) => TLS_SCHEME.test(address));
  if (asked === false && secure !== undefined)
    throw unusable(
      "TLS_SETTING_INVALID",
      `TLS is turned off, but the address ${secure} asks for it; use grpc:// there, or leave TLS on`,
    );
  if (asked !== undefined) return asked;
  // A key must not cross a network in the clear unless somebody asked for that.
  return (
    secure !== undefined ||
    !all.every((address) => address.startsWith("grpc://") || isLocal(address))
  );
}

function tlsSetting(environ: Environment): boolean | undefined {
  const setting = environ.POLYBATCH_TLS?.trim().toLowerCase() ?? "";
  if (setting === "") return undefined;
  if (YES.includes(setting)) return true;
  if (NO.includes(setting)) return false;
  throw unusable("TLS_SETTING_INVALID", `POLYBATCH_TLS is "${setting}"; set it to 1 or 0`);
}

function tlsFiles(options: ConnectionOptions, environ: Environment): TlsFiles {
  const pem = (variable: string, given: string | undefined): Buffer | null => {
    const file = given || environ[variable];
    if (!file) return null;
    try {
      return readFileSync(file);
    } catch (error) {
      throw unusable(
        "TLS_FILE_UNUSABLE",
        `the file ${file} cannot be read (${(error as NodeJS.ErrnoException).code}); ` +
          `set ${variable} to the right PEM file`,
        error,
      );
    }
  };
  const found = {
    ca: pem("POLYBATCH_TLS_CA", options.tlsCa),
    clientCert: pem("POLYBATCH_TLS_CLIENT_CERT", options.tlsClientCert),
    clientKey: pem("POLYBATCH_TLS_CLIENT_KEY", options.tlsClientKey),
  };
  if ((found.clientCert === null) !== (found.clientKey === null)) {
    const missing = `POLYBATCH_TLS_CLIENT_${found.clientKey === null ? "KEY" : "CERT"}`;
    throw unusable(
      "TLS_CLIENT_CERT_INCOMPLETE",
      `a client certificate goes with its key; set ${missing}, too`,
    );
  }
  return found;
}

function findKey(options: ConnectionOptions, environ: Environment): string {
  let key = options.apiKey ?? (environ.POLYBATCH_API_KEY || undefined);
  if (key === undefined) {
    const file = path.join(dataFolder(environ), "api-key");
    try {
      key = readFileSync(file, "utf8");
    } catch (error) {
      throw unusable(
        "API_KEY_MISSING",
        `no API key: the file ${file} cannot be read ` +
          `(${(error as NodeJS.ErrnoException).code}); set POLYBATCH_API_KEY, or ` +
          "POLYBATCH_DATA_DIR to the folder where polybatch keeps its data",
        error,
      );
    }
  }
  key = key.trim();
  // Metadata values are printable ASCII.
  if (!/^[\x20-\x7e]+$/.test(key))
    throw unusable(
      "API_KEY_INVALID",
      "the API key is empty or has characters that no key has; check POLYBATCH_API_KEY",
    );
  return key;
}

function waitSeconds(options: ConnectionOptions, environ: Environment): number {
  const text = environ.POLYBATCH_WAIT?.trim();
  const wait = options.wait ?? (text ? Number(text) : DEFAULT_WAIT);
  if (wait >= 0 && wait < Infinity) return wait;
  throw unusable(
    "WAIT_INVALID",
    `${options.wait ?? text} is no time to wait; give seconds from 0 on (POLYBATCH_WAIT)`,
  );
}

function unusable(reason: string, message: string, cause?: unknown): PolybatchError {
  return new PolybatchError(message, { reason, cause });
}
