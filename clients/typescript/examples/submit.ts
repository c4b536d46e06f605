// Runs one batch: streams a file of requests up, watches the batch to its end, and streams the
// results down.

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { BatchState, Client, PolybatchError, type Batch } from "polybatch";

const USAGE = `Usage: submit [options] REQUESTS.jsonl RESULTS.jsonl
       submit --watch BATCH_ID [options] RESULTS.jsonl

Uploads the requests, prints the batch's id, watches the batch, writes its results.

  --skip-invalid    run the good lines; bad ones come back as failed lines
  --lenient         leave out what a line asks for and its provider lacks
  --request-id ID   8 to 64 characters of [A-Za-z0-9_-]: run again with the same id, it goes on
                    with the same upload, or with the batch that was made of it
  --watch ID        go on with a batch that was made before
  --help

Environment, as for the Python client:
  POLYBATCH_GATEWAY, POLYBATCH_COLLECTOR   localhost:50051, localhost:50052; grpcs://host:port
                                           for TLS; several replicas separated by commas
  POLYBATCH_API_KEY                        else the file api-key in POLYBATCH_DATA_DIR (.polybatch)
  POLYBATCH_TLS                            1 or 0; else on unless both are this machine
  POLYBATCH_TLS_CA, POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY   PEM files
  POLYBATCH_WAIT                           seconds in which nothing gets through: 120

Exit codes: 0 all lines succeeded, 1 error, 2 bad input, 3 completed with failed lines,
4 failed, expired or cancelled, 130 Ctrl-C (a batch that was made goes on).`;

const OK = 0, ERROR = 1, BAD_INPUT = 2, LINES_FAILED = 3, BATCH_FAILED = 4, INTERRUPTED = 130;

/** What was given cannot be used. */
class Refusal extends Error {
  constructor(message: string, readonly usage = "") {
    super(message);
  }
}

// Ids, models and messages come from files and providers; a terminal would obey them.
const say = (text: string) => process.stderr.write(`${text.replace(/\p{C}/gu, "?")}\n`);

function parse(argv: string[]) {
  const text = { type: "string" } as const;
  const flag = { type: "boolean", default: false } as const;
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      options: { "skip-invalid": flag, lenient: flag, help: flag, "request-id": text, watch: text },
      allowPositionals: true,
    });
    const { watch, help, "request-id": requestId } = values;
    const wanted = watch === undefined ? 2 : 1;
    if (!help && positionals.length !== wanted) throw new Error(`${wanted} file names are needed`);
    if (requestId !== undefined && !/^[\w-]{8,64}$/.test(requestId))
      throw new Error("--request-id takes 8 to 64 characters of [A-Za-z0-9_-]");
    const [results = "", requests = ""] = positionals.reverse();
    return { ...values, requestId, requests, results };
  } catch (error) {
    throw new Refusal(error instanceof Error ? error.message : String(error), USAGE);
  }
}

// Before anything is sent: nobody wants to pay for results that cannot be written.
async function checkFiles({ requests, results }: ReturnType<typeof parse>): Promise<void> {
  const found = (file: string) =>
    stat(file).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw new Refusal(`${file} cannot be read (${error.code})`);
    });
  const usable = (file: string, mode: number) =>
    access(file, mode).catch((error: NodeJS.ErrnoException) => {
      throw new Refusal(`${file} cannot be used (${error.code})`);
    });
  if (requests) {
    if (!(await found(requests))?.isFile()) throw new Refusal(`${requests} is not a file`);
    await usable(requests, constants.R_OK);
  }
  if ((await found(results))?.isFile() === false)
    throw new Refusal(`${results} exists and is not a regular file`);
  await usable(path.dirname(results), constants.W_OK);
}

let howToGoOn = "";

async function main(argv: string[], signal: AbortSignal): Promise<number> {
  const options = parse(argv);
  if (options.help) {
    console.log(USAGE);
    return OK;
  }
  await checkFiles(options);
  await using client = new Client({
    onRetry: (error, seconds) => {
      if (seconds >= 1) say(`${error.message}; trying again in ${seconds.toFixed(0)} s`);
    },
  });
  let id = options.watch;
  if (id === undefined) {
    const requestId = options.requestId ?? randomBytes(18).toString("base64url");
    howToGoOn = `to go on with this upload, run it again with --request-id ${requestId}`;
    const made = await client.submit(options.requests, {
      requestId,
      skipInvalidLines: options["skip-invalid"],
      lenientTranslation: options.lenient,
      signal,
    });
    id = made.id;
    console.log(id);
  }
  howToGoOn = `${id} goes on; watch it again with --watch ${id}`;
  const show = shower();
  let batch: Batch | undefined;
  for await (batch of client.watch(id, { signal })) show(batch);
  try {
    await client.download(id, options.results, { signal });
  } catch (error) {
    // It failed as such; that was shown.
    if (!(error instanceof PolybatchError && error.reason === "NO_RESULTS")) throw error;
  }
  if (batch?.state !== BatchState.COMPLETED) return BATCH_FAILED;
  const { failed = 0, cancelled = 0, expired = 0 } = batch.requestCounts ?? {};
  return failed + cancelled + expired > 0 ? LINES_FAILED : OK;
}

// Shows a snapshot where it says more than counts that have moved on.
function shower(): (batch: Batch) => void {
  let shown = "";
  return (batch) => {
    const { total = 0, succeeded = 0, failed = 0, cancelled = 0, expired = 0 } =
      batch.requestCounts ?? {};
    const state = batch.state.replace("BATCH_STATE_", "").toLowerCase();
    const reasons = [
      ...batch.errors.map(({ code, message }) => `${code}: ${message}`),
      ...(batch.commonCause === undefined ? [] : [
        `every line failed for one cause: ${batch.commonCause.code}: ${batch.commonCause.message}`,
      ]),
      ...batch.shards.filter(({ waitingReason }) => waitingReason).slice(0, 5)
        .map(({ model, waitingReason }) => `${model} waits: ${waitingReason}`),
    ];
    const percent = `${Math.floor(batch.progressPercent)} %`;
    const news = [state, percent, ...reasons].join("; ");
    if (news === shown) return;
    shown = news;
    const finished = succeeded + failed + cancelled + expired;
    const apart = Object.entries({ failed, cancelled, expired })
      .map(([word, count]) => (count ? `, ${count} ${word}` : "")).join("");
    const lines = `${finished} of ${total} lines${apart}`;
    say([`${batch.id}: ${batch.displayState} (${state}), ${percent}, ${lines}`, ...reasons].join("; "));
  };
}

const INPUT_CODES = ["INVALID_ARGUMENT", "OUT_OF_RANGE", "UNIMPLEMENTED"];
const INPUT_REASONS = ["FILE_TOO_LARGE", "TOO_MANY_LINES"];
// Where the same again is of no use.
const FOR_GOOD = [...INPUT_CODES, "ALREADY_EXISTS", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED"];

function complain(error: unknown): number {
  if (error instanceof Refusal) {
    say(`submit: ${error.message}`);
    if (error.usage) process.stderr.write(`\n${error.usage}\n`);
    return BAD_INPUT;
  }
  if (error instanceof PolybatchError) {
    say(`submit: ${error.message} (${error.reason})`);
    for (const { field, description } of error.violations) say(`  ${field}: ${description}`);
    if (error.reason === "INVALID_LINES") {
      const lenient = Number(error.metadata.lenient_line_count);
      say(`${lenient ? `--lenient takes ${lenient} of them; ` : ""}--skip-invalid runs the others`);
    } else if (howToGoOn && error.code && !FOR_GOOD.includes(error.code)) {
      say(howToGoOn);
    }
    const input = INPUT_CODES.includes(error.code ?? "") || INPUT_REASONS.includes(error.reason);
    return input ? BAD_INPUT : ERROR;
  }
  // Of the file system.
  if (error instanceof Error && "syscall" in error && "code" in error) {
    say(`submit: ${error.message} (${error.code})`);
    return ERROR;
  }
  throw error;
}

const interruption = new AbortController();
process.once("SIGINT", () => interruption.abort());
process.exitCode = await main(process.argv.slice(2), interruption.signal).catch((error: unknown) => {
  if (!interruption.signal.aborted) return complain(error);
  process.stderr.write("\n");
  say(`submit: stopped${howToGoOn && `; ${howToGoOn}`}`);
  return INTERRUPTED;
});
