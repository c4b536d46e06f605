// Uploads that become batches, continued after a break.

import { createHash, randomBytes } from "node:crypto";
import type { Attempts, Caller } from "./calls.js";
import { PolybatchError } from "./errors.js";
import {
  BatchServiceService,
  CreateBatchRequest,
  SubmitBatchRequest,
  type Batch,
} from "./generated/polybatch/v1/batches.js";
import { FileServiceService, UploadSpec } from "./generated/polybatch/v1/files.js";
import { CHUNK_BYTES, digestOf, openSource, regroup, type Requests, type Source } from "./sources.js";

/** Options of the batch, by the names of `CreateBatchRequest`, and of its upload. */
export interface SubmitOptions extends Partial<Omit<CreateBatchRequest, "inputFileId">> {
  /**
   * At most 128 bytes. The same id with the same lines goes on with the same upload, or returns
   * the batch that was made of it, in another process even; with other lines it is refused once
   * it has a batch (REQUEST_ID_REUSED). The lines are read twice where it is given.
   */
  requestId?: string;
  /** For people; the name of the file if left out. */
  filename?: string;
  /** Provider of lines that name none and whose model tells none. */
  defaultProvider?: string;
  /** Model of lines whose form leaves it out. */
  defaultModel?: string;
  signal?: AbortSignal | undefined;
}

export async function submit(
  caller: Caller,
  requests: Requests,
  options: SubmitOptions,
  signal: AbortSignal,
): Promise<Batch> {
  const source = await openSource(requests);
  const { filename, defaultProvider = "", defaultModel = "" } = options;
  const uploadId = options.requestId
    ? await uploadIdOf(options.requestId, source, options, signal)
    : randomBytes(18).toString("base64url");
  const upload = UploadSpec.create({
    filename: filename ?? source.name,
    defaultProvider,
    defaultModel,
    uploadId,
  });
  const running = new Upload(caller, source, upload, CreateBatchRequest.create(options), signal);
  return running.run(options.requestId !== undefined);
}

// Of all of it, so that what other lines had committed is not continued; as the Python client.
async function uploadIdOf(
  requestId: string,
  source: Source,
  { defaultProvider = "", defaultModel = "" }: SubmitOptions,
  signal: AbortSignal,
): Promise<string> {
  const parts = [requestId, await digestOf(source, signal), defaultProvider, defaultModel];
  return createHash("sha256").update(parts.join("\0")).digest("hex");
}

class Upload {
  readonly #attempts: Attempts;
  #committed = 0;

  constructor(
    private readonly caller: Caller,
    private readonly source: Source,
    private readonly upload: UploadSpec,
    private readonly batch: CreateBatchRequest,
    private readonly signal: AbortSignal,
  ) {
    this.#attempts = caller.attempts(signal);
  }

  /** Sends everything, however many streams it takes. `resume`: some may have been sent before. */
  async run(resume: boolean): Promise<Batch> {
    if (resume) await this.#moreIsCommitted();
    for (;;) {
      try {
        return await this.caller.transport.upload(
          BatchServiceService.submitBatch,
          this.#messages(),
          this.signal,
        );
      } catch (error) {
        let asked = false;
        await this.#attempts.pause(error, () => {
          asked = true;
          return this.#moreIsCommitted();
        });
        if (!asked && (await this.#moreIsCommitted())) this.#attempts.progress();
      }
    }
  }

  async *#messages(): AsyncGenerator<SubmitBatchRequest, void, undefined> {
    const upload = { ...this.upload, writeOffset: this.#committed };
    yield { payload: { $case: "spec", value: { upload, batch: this.batch } } };
    for await (const value of regroup(this.source.read(this.#committed), CHUNK_BYTES))
      yield { payload: { $case: "chunk", value } };
    // Without it the service takes the stream for broken off.
    yield { payload: { $case: "finish", value: true } };
  }

  async #moreIsCommitted(): Promise<boolean> {
    const before = this.#committed;
    this.#committed = await this.#askCommitted();
    return this.#committed > before;
  }

  /** 0 where the service knows nothing of the upload. */
  async #askCommitted(): Promise<number> {
    const request = { uploadId: this.upload.uploadId };
    const { getUploadStatus } = FileServiceService;
    try {
      return (await this.caller.unary(getUploadStatus, request, this.signal)).committedSize;
    } catch (error) {
      if (error instanceof PolybatchError && error.code === "NOT_FOUND") return 0;
      throw error;
    }
  }
}
