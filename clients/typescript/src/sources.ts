// Where the lines of an upload come from: anything that can be read again from an offset.

import { createHash } from "node:crypto";
import { open, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { PolybatchError } from "./errors.js";

/** The most that a message of an upload may hold. */
export const CHUNK_BYTES = 1024 * 1024;

/** JSON lines that can be read again, such as an object of a store. */
export interface Source {
  /** For people. */
  readonly name: string;
  /** The bytes from an offset to the end, in pieces of any size; the same ones each time. */
  read(start: number): AsyncIterable<Uint8Array>;
}

/** The path of a file, a Blob (also one of `fs.openAsBlob`), or a source of one's own. */
export type Requests = string | URL | Blob | Source;

/** Throws the file system's error where a path cannot be used. */
export async function openSource(requests: Requests): Promise<Source> {
  if (requests instanceof Blob) return blobSource(requests);
  if (requests instanceof URL) return fileSource(fileURLToPath(requests));
  return typeof requests === "string" ? fileSource(requests) : requests;
}

/** Lowercase hexadecimal SHA-256. */
export async function digestOf(source: Source, signal: AbortSignal): Promise<string> {
  const digest = createHash("sha256");
  for await (const piece of source.read(0)) {
    signal.throwIfAborted();
    digest.update(piece);
  }
  return digest.digest("hex");
}

/** The same bytes, all in pieces of `size` but the last one. */
export async function* regroup(
  pieces: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Buffer, void, undefined> {
  let group: Buffer[] = [];
  let gathered = 0;
  for await (const piece of pieces) {
    let rest = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    while (gathered + rest.length >= size) {
      const head = rest.subarray(0, size - gathered);
      yield group.length === 0 ? head : Buffer.concat([...group, head], size);
      rest = rest.subarray(head.length);
      group = [];
      gathered = 0;
    }
    if (rest.length > 0) {
      group.push(rest);
      gathered += rest.length;
    }
  }
  if (gathered > 0) yield Buffer.concat(group, gathered);
}

function blobSource(blob: Blob): Source {
  const name = "name" in blob && typeof blob.name === "string" ? blob.name : "";
  return { name, read: (start) => blob.slice(start).stream() as AsyncIterable<Uint8Array> };
}

async function fileSource(file: string): Promise<Source> {
  const found = await stat(file);
  const before = identity(found);
  async function* read(start: number) {
    const handle = await open(file);
    try {
      // Parts of two files would be put together.
      if (identity(await handle.stat()) !== before) throw changed(file);
      // Of a part that is finished a batch would be made.
      const end = yield* readFrom(handle, start);
      if (end !== found.size) throw changed(file);
    } finally {
      await handle.close();
    }
  }
  return { name: path.basename(file), read };
}

function identity(found: Awaited<ReturnType<FileHandle["stat"]>>): string {
  return [found.dev, found.ino, found.size, found.mtimeMs].join(" ");
}

/** To the end, whose position is returned. */
async function* readFrom(file: FileHandle, start: number) {
  for (let position = start; ; ) {
    // A new buffer each time: the one before is still on its way.
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, null, position);
    if (bytesRead === 0) return position;
    yield buffer.subarray(0, bytesRead);
    position += bytesRead;
  }
}

function changed(file: string): PolybatchError {
  return new PolybatchError(`${file} was changed while it was being uploaded; submit it again`, {
    reason: "FILE_CHANGED",
  });
}
