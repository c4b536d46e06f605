"""What a user writes by the vendor's guide: a file in, its results out.

Run by the Python of a peer's environment, with OPENAI_BASE_URL and OPENAI_API_KEY set:
    python client_script.py INPUT RESULTS SECONDS_BETWEEN_POLLS [MODEL]
MODEL: where the server is LiteLLM's proxy, which chooses an account by it.
"""

import sys
import time

from openai import OpenAI

source, target, interval = sys.argv[1], sys.argv[2], float(sys.argv[3])
account = {"model": sys.argv[4]} if len(sys.argv) > 4 else None
client = OpenAI()
with open(source, "rb") as lines:
    uploaded = client.files.create(file=lines, purpose="batch", extra_body=account)
batch = client.batches.create(
    input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
)
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(interval)
    batch = client.batches.retrieve(batch.id)
if batch.errors is not None and batch.errors.data:
    print(*(f"line {each.line}: {each.message}" for each in batch.errors.data), file=sys.stderr)
with open(target, "wb") as results:
    for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
        with client.files.with_streaming_response.content(file_id) as answer:
            for piece in answer.iter_bytes(1 << 20):
                results.write(piece)
print(batch.status, batch.request_counts)
sys.exit(batch.status != "completed")
