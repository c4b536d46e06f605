"""OpenAI's Batch API, and that of servers in its form: files and batches.

Facts: openai-openapi openapi.yaml (2026-08-21), the openai package 3.54, the Batch guide.
What decides about money: `POST /batches` has no idempotency key, so it is sent once; the
metadata and the file name carry our shard and attempt, so that a batch is found again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from core.endpoints import CHAT_COMPLETIONS, RESPONSES
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
    Refused,
    RemoteBatch,
    RemoteState,
    ResultLine,
    SubmitOutcome,
    Upload,
    accepted,
    always_open,
    upload_prefix,
)
from core.providers.http import repeated
from core.providers.http.client import ProviderHttp
from core.providers.http.upload_tries import UploadTries
from core.providers.list_search import CLOCK_MARGIN, look_up, not_listed
from core.providers.openai.batches import batch_of
from core.providers.openai.bodies import FALSE, TIER, asks_for_tier, refuse_streaming
from core.providers.openai.dialect import INPUT_FILE_SECONDS, LIMITS, OPENAI, Dialect
from core.providers.openai.errors import TOKEN_LIMIT, stated_limit
from core.providers.openai.lists import JOBS, Jobs, Lists
from core.providers.openai.nulls import SHAPES, drop_nulls
from core.providers.openai.rows import read_row
from core.providers.openai.wire import RemoteFile, read_file
from core.providers.result_lines import download_results
from core.providers.translation import Note, dropped_fields
from core.providers.translation.responses import marked, restored, through_chat
from core.providers.uploads import InputLost, bring, discard_named, judged

__all__ = ["INPUT_FILE_SECONDS", "LIMITS", "OPENAI", "Dialect", "OpenAIProvider"]

SHARD_KEY = "polybatch_shard"
TOKEN_KEY = "polybatch_token"

_PROCESSING = frozenset({"uploaded", "pending", "processing", "running", "queued"})
_LOOK_SECONDS = 1.0
_GONE = frozenset({404, 410})


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()


class OpenAIProvider:
    """OpenAI, or a server with the same files and batches, with one key."""

    framing = Framing(prefix=b"", separator=b"\n", suffix=b"\n")

    def __init__(
        self,
        http: ProviderHttp,
        *,
        dialect: Dialect = OPENAI,
        jobs: Jobs = JOBS,
        settle: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`settle`: how long absence is doubted."""
        self.name = dialect.slug
        self.limits = dialect.limits
        self.keeps_results = dialect.keeps_results
        self.input_lifetime = dialect.input_lifetime
        self._dialect = dialect
        self._http = http
        self._jobs = jobs
        self._lists = Lists(http, jobs)
        self._settle = settle
        self._now = now

    def remote_model(self, model: str) -> str:
        """The provider's id of the user's model ("openai/gpt-4.1" -> "gpt-4.1")."""
        return find_model(self.name, model).id

    def encode_line(
        self, custom_id: str, url: str, model: str, body: bytes, *, lenient: bool = False
    ) -> EncodedLine:
        """Put one request into OpenAI's form: other ids, other model, the rest as it came.

        Nothing is left out, lenient or not, but optional members that are null and what means
        nothing in a batch. Raises LineRejected for what would make OpenAI refuse the whole file.
        """
        if url == RESPONSES and self._dialect.translates_responses:
            return self._encode_responses(custom_id, model, body, lenient=lenient)
        fields = self._fields_of(url, body)
        if self._dialect.drops_nulls and url in SHAPES and b"null" in body:
            fields = drop_nulls(fields, SHAPES[url])
        tier = fields.pop(TIER, None) if self._dialect.ignores_tiers else None
        fields["model"] = _model_of(self.name, model)
        line = b'{"custom_id":"%b","method":"POST","url":"%b","body":%b}' % (
            custom_id.encode(),
            self._dialect.served(url).encode(),
            _encoder.encode(fields),
        )
        return line, (f"body.{TIER}",) if lenient and asks_for_tier(tier) else ()

    def _encode_responses(
        self, custom_id: str, model: str, body: bytes, *, lenient: bool
    ) -> EncodedLine:
        """Put a Responses request into the form of a chat completion. Raises LineRejected."""

        def encode(chat: bytes) -> tuple[bytes, Sequence[Note]]:
            return self.encode_line(marked(custom_id), CHAT_COMPLETIONS, model, chat)[0], ()

        line, notes = through_chat(
            encode, body, lenient=lenient, limit_field=self._dialect.limit_field
        )
        return line, dropped_fields(notes) if lenient else ()

    def _fields_of(self, url: str, body: bytes) -> dict[str, msgspec.Raw]:
        """The members of a request's body. Raises LineRejected for what no batch can have."""
        if url not in self.limits.endpoints:
            text = f"Batches of {self.name} have no {url}."
            raise LineRejected("url", "unsupported_endpoint", text)
        try:
            fields = _fields.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
        refuse_streaming(fields.get("stream", FALSE))
        return fields

    async def check(self) -> None:
        """Ask for one batch: what the key may not see, it may not make."""
        await self._lists.look()

    async def submit(
        self, intent: Intent, source: Path | Upload, *, gate: Gate = always_open
    ) -> SubmitOutcome:
        """Upload the spool and create the batch. Never repeats the create by itself."""
        deadline = self._http.deadline()
        upload = await bring(self, source, _filename(intent), deadline=deadline)
        if isinstance(upload, Refused):
            return upload
        outcome = await self._http.create(
            self._jobs.path,
            self._creation(intent, upload.remote_file_id),
            deadline=deadline,
            gate=partial(gate, upload),
        )
        if isinstance(outcome, Refused):
            if outcome.code == TOKEN_LIMIT:
                limit = stated_limit(outcome.message)
                outcome = replace(outcome, enqueued_token_limit=limit)
            return judged(outcome, source, upload)
        if isinstance(outcome, OutcomeUnknown):
            return outcome
        return accepted(
            self._jobs.path,
            outcome,
            lambda body: self._jobs.read_created(body).id,
            upload.remote_file_id,
        )

    async def send_input(self, spool: Path, name: str, tries: UploadTries) -> RemoteFile:
        """Upload a spool. Raises ProviderUnavailable, ProviderRejected."""
        dialect = self._dialect
        fields = {
            key: text.replace("{filename}", name) for key, text in dialect.upload_fields.items()
        }
        return await self._http.upload(dialect.upload_path, fields, name, spool, read_file, tries)

    def input_id(self, file: RemoteFile) -> str:
        """The provider's id of a file."""
        return file.id

    async def await_input(self, file: RemoteFile | str) -> None:
        """Where the server processes files, wait until it has.

        Raises InputLost, ProviderUnavailable, ProviderRejected.
        """
        if not self._dialect.processes_uploads:
            return
        if isinstance(file, str):
            file = await self._file(file)
        while (file.status or "").lower() in _PROCESSING:
            await self._http.pause(_LOOK_SECONDS)
            file = await self._file(file.id)
        if (file.status or "").lower() == "error":
            raise InputLost(f"the file {file.id} was not processed")

    async def _file(self, file_id: str) -> RemoteFile:
        return await self._http.call("GET", f"/files/{quote(file_id, safe='')}", read_file)

    def _creation(self, intent: Intent, file_id: str) -> bytes:
        fields: dict[str, Any] = {
            "input_file_id": file_id,
            "endpoint": self._dialect.served(intent.endpoint),
            "completion_window": self._dialect.completion_window,
            **self._dialect.create_fields,
        }
        if self._dialect.keeps_metadata:
            fields["metadata"] = {SHARD_KEY: intent.shard_id, TOKEN_KEY: intent.token}
        return _encoder.encode(fields)

    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        """Ask whether the batch of an intent exists, by its metadata or its input file.

        The input may have been that of earlier attempts, of which those that created a batch
        were refused after its check: such a batch never ran, and is not what is looked for.
        """
        asked_at = self._now()
        oldest = intent.intended_at - CLOCK_MARGIN
        uploads: set[str] = set()
        if not self._dialect.keeps_metadata:
            uploads = {file.id async for file in self._uploads(intent, oldest)}
        async for job in self._lists.jobs(oldest):
            metadata = job.metadata if isinstance(job.metadata, dict) else {}
            ours = (metadata.get(SHARD_KEY), metadata.get(TOKEN_KEY))
            by_input = job.input_file_id in uploads and not (
                batch_of(job).state is RemoteState.FAILED or job.id in known
            )
            if ours == (intent.shard_id, intent.token) or by_input:
                return Found(job.id, job.input_file_id or "")
        return not_listed(
            intent, asked_at, quiet_since, timeout=self._http.timeout, settle=self._settle
        )

    async def _uploads(self, intent: Intent, oldest: datetime) -> AsyncGenerator[RemoteFile, None]:
        """The uploads of a submission: more than one if an answer was lost."""
        name = _filename(intent)
        # Kept from an earlier attempt, it is older than the intent.
        oldest -= self.input_lifetime
        async for file in self._lists.files(self._purpose, oldest):
            if file.filename == name:
                yield file

    @property
    def _purpose(self) -> str:
        return self._dialect.upload_fields.get("purpose", "batch")

    def _job_path(self, remote_id: str) -> str:
        return f"{self._jobs.path}/{quote(remote_id, safe='')}"

    async def poll(self, remote_id: str) -> RemoteBatch:
        """Ask how the batch stands. Raises ProviderUnavailable, ProviderRejected."""
        return batch_of(await self._http.call("GET", self._job_path(remote_id), self._jobs.read))

    async def poll_many(self, remote_ids: Collection[str], oldest: datetime) -> Listed:
        """Ask for many batches at once. Raises ProviderUnavailable, ProviderRejected."""
        pages = self._lists.pages_of_jobs(oldest - CLOCK_MARGIN)
        return await look_up(pages, remote_ids, batch_of, id_of=lambda job: job.id)

    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        """Stream the rows of the output file, then of the error file."""
        for source in batch.result_sources:
            path = f"/files/{quote(source, safe='')}/content"
            lines = download_results(self._http, path, _read, batch, now=self._now)
            async with aclosing(lines) as groups:
                async for group in groups:
                    yield group

    async def cancel(self, remote_id: str) -> None:
        """Ask for the end. No error when it has ended already."""
        path = f"{self._job_path(remote_id)}/cancel"
        await repeated.cancel(self._http, path, partial(self.poll, remote_id))

    async def discard(self, remote_file_id: str) -> None:
        """Delete an uploaded input file; never raises for absence."""
        await repeated.delete(self._http, f"/files/{quote(remote_file_id, safe='')}", _GONE)

    async def discard_all(self, shard_id: str, since: datetime) -> int:
        """Delete every upload of a shard, found by their names; returns how many."""
        listed = self._lists.files(self._purpose, since - CLOCK_MARGIN)
        files = ((file.id, file.filename or "") async for file in listed)
        return await discard_named(files, upload_prefix(shard_id), self.discard)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


@lru_cache(maxsize=4096)
def _model_of(provider: str, model: str) -> msgspec.Raw:
    """The provider's id of a model, as JSON, remembered: it is asked for every line."""
    return msgspec.Raw(_encoder.encode(find_model(provider, model).id))


def _read(line: bytes) -> ResultLine:
    return restored(read_row(line))


def _filename(intent: Intent) -> str:
    return f"{intent.upload_name}.jsonl"
