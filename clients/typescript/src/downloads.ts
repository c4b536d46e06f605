// Results, continued at their offset after a break.

import { createHash, randomBytes } from "node:crypto";
import { open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import type { Caller } from "./calls.js";
import { endedEarly, PolybatchError } from "./errors.js";
import {
  DownloadResultsRequest,
  ResultFilter,
  ResultServiceService,
  type Manifest,
  type ResultsHeader,
} from "./generated/polybatch/v1/results.js";

/** How often in a row late answers may come while results are saved. */
const NEWER_RESULTS = 3;

export interface ResultsOptions {
  /** Only the lines that succeeded, or only those that did not. */
  filter?: ResultFilter;
  signal?: AbortSignal | undefined;
}

/** One download of results: its header, once it has come, and its bytes. */
export class ResultStream {
  header: ResultsHeader | undefined;

  constructor(
    private readonly caller: Caller,
    private readonly batchId: string,
    private readonly filter: ResultFilter,
    private readonly signal: AbortSignal,
  ) {}

  /** Yields exactly as many bytes as the header announces. */
  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    const attempts = this.caller.attempts(this.signal);
    let received = 0;
    for (;;) {
      const request = DownloadResultsRequest.create({
        batchId: this.batchId,
        filter: this.filter,
        offset: received,
        // Of two revisions nothing can be put together.
        resultsRevision: (received > 0 && this.header?.resultsRevision) || 0,
      });
      const method = ResultServiceService.downloadResults;
      try {
        for await (const { payload } of this.caller.transport.replies(method, request, this.signal)) {
          if (payload?.$case === "header") {
            this.header = payload.value;
          } else if (payload?.$case === "chunk") {
            received += payload.value.length;
            // A header alone is no progress: what always breaks after it is given up.
            attempts.progress();
            yield payload.value;
          }
        }
        if (received === this.header?.totalBytes) return;
        throw endedEarly("the download");
      } catch (error) {
        await attempts.pause(error);
      }
    }
  }
}

/** Writes the results to a file, whole or not at all. */
export async function save(
  stream: () => ResultStream,
  target: string,
  checkDigest: boolean,
): Promise<Manifest> {
  for (let newer = 0; ; newer += 1) {
    try {
      return await saveOnce(stream(), target, checkDigest);
    } catch (error) {
      // Late answers came meanwhile: nothing of it was kept, and the newer is better.
      const changed = error instanceof PolybatchError && error.reason === "RESULTS_CHANGED";
      if (!changed || newer === NEWER_RESULTS) throw error;
    }
  }
}

async function saveOnce(
  stream: ResultStream,
  target: string,
  checkDigest: boolean,
): Promise<Manifest> {
  // In the same folder, so that the last step is a rename within one file system.
  const name = `.${path.basename(target)}.${randomBytes(4).toString("hex")}.part`;
  const unfinished = path.join(path.dirname(target), name);
  await refuseDevice(target);
  const file = await open(unfinished, "wx");
  try {
    const digest = await write(stream, file);
    const manifest = stream.header?.manifest;
    if (manifest === undefined || (checkDigest && digest !== manifest.resultsSha256))
      throw new PolybatchError(
        `what came has the SHA-256 ${digest}, which is not what the manifest names ` +
          `(${manifest?.resultsSha256 ?? "there is none"}); download it again`,
        { reason: "DIGEST_MISMATCH" },
      );
    await rename(unfinished, target);
    return manifest;
  } catch (error) {
    // Node names the file where it is opened, and not where there is no room to write it.
    if (isUnnamed(error)) {
      error.path = target;
      error.message += ` '${target}'`;
    }
    throw error;
  } finally {
    await rm(unfinished, { force: true });
  }
}

function isUnnamed(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error && !("path" in error);
}

// A rename would put a file in the place of a device or a pipe.
async function refuseDevice(target: string): Promise<void> {
  const found = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (found?.isFile() === false)
    throw new PolybatchError(`${target} exists and is not a regular file; name another one`, {
      reason: "NOT_A_FILE",
    });
}

async function write(stream: ResultStream, file: FileHandle): Promise<string> {
  const digest = createHash("sha256");
  try {
    for await (const chunk of stream.chunks()) {
      digest.update(chunk);
      await file.appendFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return digest.digest("hex");
}
