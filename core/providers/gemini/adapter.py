"""Google Gemini's batch mode (Gemini API, not Vertex AI).

Facts, as of 2026-11:

- A batch is a long-running operation "batches/ID" over an uploaded JSONL file of {"key",
  "request"} (2 GB, kept for 48 hours, 20 GB a project) or over inline requests (20 MB; not
  used here). The model is in the address: one a batch. [guide, api/batch-api]
- Upload: resumable protocol, POST /upload/v1beta/files gives an address for the bytes;
  create: POST /v1beta/models/MODEL:batchGenerateContent, for embeddings
  :asyncBatchEmbedContent; results: GET /download/v1beta/FILE:download?alt=media, one line
  a request, in order. [guide, SDK files.py, batches.py]
- "The creation of a batch job is not idempotent": it is sent once. Its displayName comes
  back from get and list, and carries our shard and attempt, so that it is found again.
- States BATCH_STATE_* (JOB_STATE_* in the guide). After 48 hours it expires and "will not
  have any results"; half of the price; cancel stops new requests; a delete removes it.
- At most 100 batches at a time, and enqueued tokens by model and tier; over that 429
  RESOURCE_EXHAUSTED, at creation. [rate limits page] Neither its message nor its details name
  the limit, or a time to come again. [langchain4j #3942, js-genai #1264]
- The REST reference has all of this under v1beta; google-genai 3 has moved to v1.
- Errors: google.rpc.Status, with RetryInfo among its details; no Retry-After promised.
- Unknown files are answered 403, like those of others. [SDK issues]

Sources: ai.google.dev/gemini-api/docs/batch-api, /rate-limits, /files and /api/batch-api;
google-genai 3.4; google-gemini/cookbook quickstarts/Batch_mode.ipynb.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

import msgspec

from core.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, GENERATE_CONTENT, RESPONSES
from core.providers.catalogue import find_model
from core.providers.contract import (
    EncodedLine,
    FindOutcome,
    Found,
    Framing,
    Gate,
    Intent,
    LineRejected,
    Listed,
    OutcomeUnknown,
    ProviderLimits,
    Refused,
    RemoteBatch,
    ResultLine,
    SubmitOutcome,
    Upload,
    accepted,
    always_open,
    upload_prefix,
)
from core.providers.gemini.batches import batch_of
from core.providers.gemini.embeddings import BASE64, translate_embedding
from core.providers.gemini.native import SUFFIX, native_answer, native_request
from core.providers.gemini.request import translate_request
from core.providers.gemini.response import read_line
from core.providers.gemini.wire import (
    Operation,
    RemoteFile,
    read_file,
    read_files,
    read_operation,
    read_operations,
    read_uploaded,
)
from core.providers.http import repeated
from core.providers.http.client import ProviderHttp
from core.providers.http.cursors import Cursors, past
from core.providers.http.upload_tries import UploadTries
from core.providers.list_search import CLOCK_MARGIN, look_up, not_listed
from core.providers.result_lines import download_results
from core.providers.translation import dropped_fields
from core.providers.translation.responses import marked, restored, through_chat, with_responses
from core.providers.uploads import InputLost, bring, discard_named, judged

LIMITS = ProviderLimits(
    # No number is documented; large batches are to be broken up, as they may take longer
    # than the 48 hours after which nothing of them is left.
    max_lines=50_000,
    max_bytes=200_000_000,
    one_model_per_batch=True,
    endpoints=with_responses(frozenset({CHAT_COMPLETIONS, EMBEDDINGS, GENERATE_CONTENT})),
)

PAGE = 100
INPUT_LIFETIME = timedelta(hours=48)
MEDIA_TYPE = "jsonl"
"""As in the guide and its notebook."""
_LOOK_SECONDS = 1.0
_TOKEN_LIMIT = "token_limit_exceeded"
_ABSENT = frozenset({403, 404, 410})
"""Of a batch that failed, those that may be about its input."""

_encoder = msgspec.json.Encoder()


class GeminiProvider:
    """Gemini's batch mode with one key."""

    name = "gemini"
    limits = LIMITS
    keeps_results = timedelta(hours=48)
    input_lifetime = INPUT_LIFETIME
    framing = Framing(prefix=b"", separator=b"\n", suffix=b"\n")

    def __init__(
        self,
        http: ProviderHttp,
        *,
        settle: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`settle`: how long absence is doubted."""
        self._http = http
        self._settle = settle
        self._now = now

    def remote_model(self, model: str) -> str:
        """Gemini's id of the user's model ("gemini/gemini-3.8-flash" -> "gemini-3.8-flash")."""
        return remote_model(model)

    def encode_line(
        self, custom_id: str, url: str, model: str, body: bytes, *, lenient: bool = False
    ) -> EncodedLine:
        """Put one request into Gemini's form. Raises LineRejected."""
        translate = partial(translate_request, self.remote_model(model), lenient=lenient)
        if url == CHAT_COMPLETIONS:
            request, notes = translate(body)
        elif url == RESPONSES:
            request, notes = through_chat(translate, body, lenient=lenient)
            custom_id = marked(custom_id)
        elif url == GENERATE_CONTENT:
            request, notes = native_request(body, self.remote_model(model)), ()
            custom_id += SUFFIX
        elif url == EMBEDDINGS:
            request, base64, notes = translate_embedding(body, lenient=lenient)
            custom_id += BASE64 if base64 else ""
        else:
            raise LineRejected("url", "unsupported_endpoint", f"Gemini batches have no {url}.")
        line = b'{"key":"%b","request":%b}' % (custom_id.encode(), request)
        return line, dropped_fields(notes) if lenient else ()

    async def check(self) -> None:
        """Ask for one batch: what the key may not see, it may not make."""
        await self._http.call("GET", "/v1beta/batches", read_operations, params={"pageSize": 1})

    async def submit(
        self, intent: Intent, source: Path | Upload, *, gate: Gate = always_open
    ) -> SubmitOutcome:
        """Upload the spool and create the batch. Never repeats the create by itself."""
        deadline = self._http.deadline()
        upload = await bring(self, source, intent.upload_name, deadline=deadline)
        if isinstance(upload, Refused):
            return upload
        file_name = upload.remote_file_id
        method = (
            "asyncBatchEmbedContent" if intent.endpoint == EMBEDDINGS else "batchGenerateContent"
        )
        path = f"/v1beta/models/{quote(intent.model, safe='')}:{method}"
        batch = {"displayName": intent.batch_name, "inputConfig": {"fileName": file_name}}
        outcome = await self._http.create(
            path, _encoder.encode({"batch": batch}), deadline=deadline, gate=partial(gate, upload)
        )
        if isinstance(outcome, Refused):
            return judged(_about_tokens(outcome), source, upload)
        if isinstance(outcome, OutcomeUnknown):
            return outcome
        return accepted(path, outcome, lambda body: read_operation(body).name, file_name)

    async def send_input(self, spool: Path, name: str, tries: UploadTries) -> RemoteFile:
        """Upload a spool. Raises ProviderUnavailable, ProviderRejected."""
        about = _encoder.encode({"file": {"displayName": name, "mimeType": MEDIA_TYPE}})
        return await self._http.upload_resumable(
            "/upload/v1beta/files", about, spool, MEDIA_TYPE, read_uploaded, tries
        )

    def input_id(self, file: RemoteFile) -> str:
        """The provider's name of a file."""
        return file.name

    async def await_input(self, file: RemoteFile | str) -> None:
        """Wait until a file is processed.

        Raises InputLost, ProviderUnavailable, ProviderRejected.
        """
        if isinstance(file, str):
            file = await self._http.call("GET", f"/v1beta/{_name(file)}", read_file)
        while file.state == "PROCESSING":
            await self._http.pause(_LOOK_SECONDS)
            file = await self._http.call("GET", f"/v1beta/{_name(file.name)}", read_file)
        if file.state == "FAILED":
            raise InputLost(f"the file {file.name} was not processed")

    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        """Ask whether the batch of an intent exists, by its display name."""
        asked_at = self._now()
        wanted = intent.batch_name
        async for operation in self._batches(intent.intended_at - CLOCK_MARGIN):
            if operation.metadata.displayName == wanted:
                return Found(operation.name, operation.input_file)
        return not_listed(
            intent, asked_at, quiet_since, timeout=self._http.timeout, settle=self._settle
        )

    async def _batches(self, oldest: datetime) -> AsyncGenerator[Operation, None]:
        """All batches created from `oldest` on, and perhaps older ones."""
        async for page in self._pages(oldest):
            for operation in page:
                yield operation

    async def _pages(self, oldest: datetime) -> AsyncGenerator[list[Operation], None]:
        """The same page by page."""
        params: dict[str, str | int] = {"pageSize": PAGE}
        cursors = Cursors()
        while True:
            page = await self._http.call("GET", "/v1beta/batches", read_operations, params=params)
            yield page.operations
            created = [each.metadata.createTime for each in page.operations]
            if past(created, self._http.surely_since(oldest)):
                return
            if not cursors.follow(page.nextPageToken):
                return
            params["pageToken"] = page.nextPageToken

    async def _files(self) -> AsyncGenerator[tuple[str, str], None]:
        """The files that the key sees, as (name, display name)."""
        params: dict[str, str | int] = {"pageSize": PAGE}
        cursors = Cursors()
        while True:
            page = await self._http.call("GET", "/v1beta/files", read_files, params=params)
            for file in page.files:
                yield file.name, file.displayName
            if not cursors.follow(page.nextPageToken):
                return
            params["pageToken"] = page.nextPageToken

    async def poll(self, remote_id: str) -> RemoteBatch:
        """Ask how the batch stands. Raises ProviderUnavailable, ProviderRejected."""
        path = f"/v1beta/{_name(remote_id)}"
        return batch_of(await self._http.call("GET", path, read_operation))

    async def poll_many(self, remote_ids: Collection[str], oldest: datetime) -> Listed:
        """Ask for many batches at once. Raises ProviderUnavailable, ProviderRejected."""
        pages = self._pages(oldest - CLOCK_MARGIN)
        return await look_up(pages, remote_ids, batch_of, id_of=lambda operation: operation.name)

    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        """Stream the lines of the responses file, translated."""
        created = int(batch.ended_at.timestamp()) if batch.ended_at else 0
        for source in batch.result_sources:
            file, _, model = source.partition("#")
            lines = download_results(
                self._http,
                f"/download/v1beta/{_name(file)}:download?alt=media",
                lambda line: read_result(line, created, model),  # noqa: B023
                batch,
                now=self._now,
                # The batch was just shown to this key: what it may not see is not there.
                not_found=_ABSENT,
            )
            async with aclosing(lines) as groups:
                async for group in groups:
                    yield group

    async def cancel(self, remote_id: str) -> None:
        """Ask for the end. No error when it has ended already."""
        path = f"/v1beta/{_name(remote_id)}:cancel"
        await repeated.cancel(self._http, path, partial(self.poll, remote_id))

    async def discard(self, remote_file_id: str) -> None:
        """Delete an uploaded input file; never raises for absence."""
        await repeated.delete(self._http, f"/v1beta/{_name(remote_file_id)}", _ABSENT)

    async def discard_all(self, shard_id: str, since: datetime) -> int:
        """Delete every upload of a shard, found by their names; returns how many."""
        return await discard_named(self._files(), upload_prefix(shard_id), self.discard)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def _about_tokens(refusal: Refused) -> Refused:
    """A refused create, as one for the enqueued tokens where it may be.

    It does not say so. Taken for nothing but a rate it is sent again as it is, and where it is
    larger than the limit by itself, that goes on until its window has closed.
    """
    if refusal.code == "RESOURCE_EXHAUSTED" and refusal.retry_after is None:
        return replace(refusal, code=_TOKEN_LIMIT)
    return refusal


def read_result(line: bytes, created: int, model: str) -> ResultLine:
    """Read a line of results in the form that its request has asked for."""
    read = read_line(line, created, model)
    if read.custom_id.endswith(SUFFIX):
        return native_answer(read, line)
    return restored(read)


def remote_model(model: str) -> str:
    """Gemini's id of the user's model, without the "models/" of its resource name."""
    return find_model("gemini", model).id


def _name(name: str) -> str:
    """A resource name ("batches/x", "files/x") as part of a path."""
    return quote(name, safe="/").replace("..", "%2E%2E")
