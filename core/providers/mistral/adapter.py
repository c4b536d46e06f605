"""Mistral's batch jobs: OpenAI's files, and jobs of its own over them.

Facts, as of 2026-11:

- Upload: POST /v1/files with purpose "batch"; files are kept for 30 days. [known limitations]
- A line is {"custom_id", "body"}: endpoint and model stand on the job. [guide, SDK
  createbatchjobrequest.py]
- Create: POST /v1/batch/jobs {"input_files", "endpoint", "model", "metadata", "timeout_hours"};
  the metadata comes back, so that a job is found again. [SDK batchjob.py]
- Status QUEUED, RUNNING, SUCCESS, FAILED, TIMEOUT_EXCEEDED, CANCELLATION_REQUESTED, CANCELLED;
  `errors` are {"message", "count"}. [SDK batchjobstatus.py, batcherror.py]
- Lists are paged by number (`page`, from 0; `page_size`), the newest first. [SDK jobs.py]
- Results: an output and an error file, rows as OpenAI has them: {"custom_id", "response":
  {"status_code", "body"}, "error"}. [guide] Nothing says whether lines that a timeout or a
  cancel kept from running are named in them: what is in neither may have been run.
- 512 MB and 100,000 requests a batch (the guide says a million); results can be fetched for
  24 hours. [known limitations]

Sources: docs.mistral.ai/capabilities/batch, /resources/known-limitations; mistralai 3.7.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from core.endpoints import RESPONSES
from core.providers.contract import EncodedLine, Intent, ProviderLimits
from core.providers.openai.adapter import SHARD_KEY, TOKEN_KEY, OpenAIProvider
from core.providers.openai.lists import PAGE, Jobs
from core.providers.openai.wire import Counts, Page, RemoteJob

LIMITS = ProviderLimits(
    max_lines=100_000,
    max_bytes=512_000_000,
    one_model_per_batch=True,
    endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings"}),
)
TIMEOUT_HOURS = 24
KEEPS_RESULTS = timedelta(hours=24)
INPUT_LIFETIME = timedelta(days=30)

_encoder = msgspec.json.Encoder()


class _Job(msgspec.Struct):
    id: str
    status: str
    created_at: Any = None
    completed_at: Any = None
    input_files: list[str] | None = None
    output_file: str | None = None
    error_file: str | None = None
    total_requests: Any = 0
    succeeded_requests: Any = 0
    failed_requests: Any = 0
    errors: Any = None
    metadata: Any = None

    def read(self) -> RemoteJob:
        """The same in OpenAI's terms."""
        return RemoteJob(
            id=self.id,
            status=self.status,
            created_at=self.created_at,
            completed_at=self.completed_at,
            input_file_id=self.input_files[0] if self.input_files else None,
            output_file_id=self.output_file,
            error_file_id=self.error_file,
            request_counts=Counts(
                self.total_requests, self.succeeded_requests, self.failed_requests
            ),
            errors=self.errors,
            metadata=self.metadata,
        )


class _JobPage(msgspec.Struct):
    data: list[_Job] | None = None


_job = msgspec.json.Decoder(_Job)
_page = msgspec.json.Decoder(_JobPage)


def _read(body: bytes) -> RemoteJob:
    return _job.decode(body).read()


def _read_page(body: bytes) -> Page[RemoteJob]:
    return Page([job.read() for job in _page.decode(body).data or ()], None)


_PAGES = {"page_size": PAGE}

JOBS = Jobs(
    path="/batch/jobs",
    read=_read,
    read_created=_read,
    read_page=_read_page,
    list_params=_PAGES | {"order_by": "-created"},
    file_params=_PAGES,
    size_param="page_size",
    numbered="page",
)


class MistralProvider(OpenAIProvider):
    """Mistral, or a server with the same files and jobs, with one key."""

    def encode_line(
        self, custom_id: str, url: str, model: str, body: bytes, *, lenient: bool = False
    ) -> EncodedLine:
        """Put one request into Mistral's form: the model goes, the rest stays as it came.

        Nothing is left out, lenient or not, but of Responses requests, which are translated.
        Raises LineRejected.
        """
        if url == RESPONSES and self._dialect.translates_responses:
            return self._encode_responses(custom_id, model, body, lenient=lenient)
        fields = self._fields_of(url, body)
        fields.pop("model", None)
        return b'{"custom_id":"%b","body":%b}' % (custom_id.encode(), _encoder.encode(fields)), ()

    def _creation(self, intent: Intent, file_id: str) -> bytes:
        fields = {
            "input_files": [file_id],
            "endpoint": self._dialect.served(intent.endpoint),
            "model": intent.model,
            "metadata": {SHARD_KEY: intent.shard_id, TOKEN_KEY: intent.token},
            **self._dialect.create_fields,
        }
        return _encoder.encode(fields)
