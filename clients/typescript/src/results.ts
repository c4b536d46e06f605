// Lines of the results.

import { PolybatchError } from "./errors.js";

/** One line of the results: an answer, or an error; both where the answer was one. */
export interface ResultLine {
  readonly id: string;
  readonly customId: string;
  /** The one that was asked for, as the input names it; empty where it cannot be told. */
  readonly model: string;
  /** Whether the line succeeded. */
  readonly ok: boolean;
  readonly response: {
    /** HTTP status; 0 where the provider gave none. */
    readonly statusCode: number;
    readonly requestId: string;
    /** In OpenAI's form, whatever the provider. */
    readonly body: unknown;
  } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  /** How often it was sent to its provider; 0 if never. */
  readonly attempts: number;
  /** In USD, of all attempts; null where the model has no price. */
  readonly cost: number | null;
  /** Paths of what was left out of the request, such as "body.seed"; of lenient batches only. */
  readonly dropped: readonly string[];
  /** The id of the line whose answer it took; empty where it was run. */
  readonly reusedFrom: string;
  /** The line as it came, without its newline. */
  readonly raw: Buffer;
}

interface Wire {
  id: string;
  custom_id: string;
  model?: string;
  response: { status_code: number; request_id: string; body: unknown } | null;
  error: { code: string; message: string } | null;
  attempts?: number;
  cost?: number | null;
  dropped?: string[];
  reused_from?: string;
}

/** Throws PolybatchError (LINE_UNREADABLE) for what is no line of results. */
export function parseLine(raw: Buffer): ResultLine {
  const { response, error, ...line } = parseJson(raw);
  const status = response?.status_code ?? 0;
  return {
    id: line.id,
    customId: line.custom_id,
    model: line.model ?? "",
    ok: !error && status >= 200 && status < 300,
    response: response && {
      statusCode: status,
      requestId: response.request_id,
      body: response.body,
    },
    error,
    attempts: line.attempts ?? 0,
    cost: line.cost ?? null,
    dropped: line.dropped ?? [],
    reusedFrom: line.reused_from ?? "",
    raw,
  };
}

function parseJson(raw: Buffer): Wire {
  let cause: unknown;
  try {
    const found: unknown = JSON.parse(raw.toString());
    if (typeof found === "object" && found !== null && "custom_id" in found) return found as Wire;
  } catch (error) {
    cause = error;
  }
  throw new PolybatchError("a line of the results cannot be read; download them again", {
    reason: "LINE_UNREADABLE",
    cause,
  });
}

/** Yields lines without their newlines; a line may span any number of chunks. */
export async function* splitLines(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let begun: Buffer[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end; (end = chunk.indexOf(0x0a, start)) >= 0; start = end + 1) {
      const line = Buffer.concat([...begun, chunk.subarray(start, end)]);
      begun = [];
      if (line.length > 0) yield line;
    }
    if (start < chunk.length) begun.push(chunk.subarray(start));
  }
  if (begun.length > 0) yield Buffer.concat(begun);
}
