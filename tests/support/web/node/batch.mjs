// A batch from file to results with OpenAI's SDK: batch.mjs BASE_URL KEY FILE. Prints the results.
import fs from "node:fs";
import OpenAI from "openai";

const [baseURL, apiKey, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });

const file = await client.files.create({ file: fs.createReadStream(path), purpose: "batch" });
const made = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});
let batch = made;
while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  batch = await client.batches.retrieve(made.id);
}
const listed = [];
for await (const each of client.batches.list({ limit: 1 })) listed.push(each.id);
if (!listed.includes(made.id)) throw new Error("the batch is not listed");
try {
  await client.files.retrieve("file-none");
  throw new Error("a file that is not there was found");
} catch (error) {
  if (!(error instanceof OpenAI.NotFoundError)) throw error;
}
const content = await client.files.content(batch.output_file_id);
process.stdout.write(await content.text());
