import { Client, PolybatchError } from "polybatch";

await using client = new Client();
try {
  const { id } = await client.submit("requests.jsonl");
  for await (const batch of client.watch(id)) console.log(batch.displayState, batch.progressPercent);
  for await (const line of client.results(id)) console.log(line.customId, line.response?.body ?? line.error);
} catch (error) {
  if (!(error instanceof PolybatchError)) throw error;
  console.error(error.reason, error.message, error.violations);
}
