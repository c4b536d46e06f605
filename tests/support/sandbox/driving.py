"""Drives a sandbox through the vendors' own clients."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

import anthropic
import httpx2
import openai
import pydantic
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from google import genai
from google.genai import types as gemini_types
from openai.types import Batch
from openai.types.batch_error import BatchError

PATIENCE = 20.0
"""Seconds after which a test no longer waits for what must come."""


class Sandbox:
    """The server under test, with its control API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.Client(base_url=url, timeout=PATIENCE, verify=False)

    def set(self, **options: Any) -> dict[str, Any]:
        answer = self.http.post("/sandbox/config", json=options)
        assert answer.status_code == 200, answer.text
        config: dict[str, Any] = answer.json()
        return config

    def fault(self, kind: str, **members: Any) -> None:
        self.set(faults=[{"kind": kind, **members}])

    def bill(self) -> dict[str, Any]:
        bill: dict[str, Any] = self.http.get("/sandbox/bill").json()
        return bill

    def openai(self, key: str = "key") -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=key,
            max_retries=0,
            timeout=PATIENCE,
            # Each would read the system's certificates, for a server without TLS.
            http_client=openai.DefaultHttpxClient(verify=False),
        )

    def anthropic(self, key: str = "key") -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=self.url,
            api_key=key,
            max_retries=0,
            timeout=PATIENCE,
            http_client=anthropic.DefaultHttpxClient(verify=False),
        )

    def gemini(self, key: str = "key") -> genai.Client:
        options = gemini_types.HttpOptions(
            base_url=self.url,
            # At v1, its default, the sandbox has OpenAI's files.
            api_version="v1beta",
            timeout=int(PATIENCE * 1000),
            retry_options=gemini_types.HttpRetryOptions(attempts=1),
        )
        return genai.Client(api_key=key, http_options=options)


def chat_line(custom_id: str, content: Any = "Hi", **body: Any) -> dict[str, Any]:
    """A line of an OpenAI batch file."""
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-4.1",
            "messages": [{"role": "user", "content": content}],
            **body,
        },
    }


def message_request(custom_id: str, content: Any = "Hi", **params: Any) -> Any:
    """A request of an Anthropic batch."""
    return {
        "custom_id": custom_id,
        "params": {
            "model": "claude-sonnet-4-6",
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": content}],
            **params,
        },
    }


def create(
    client: openai.OpenAI,
    lines: list[dict[str, Any]] | bytes,
    endpoint: Any = "/v1/chat/completions",
    **options: Any,
) -> Batch:
    """Upload lines and make a batch of them."""
    content = lines
    if not isinstance(content, bytes):
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options
    )


def until(client: openai.OpenAI, batch: Batch, *statuses: str) -> Batch:
    """Ask for the batch until it has one of the statuses, or any final one."""
    wanted = statuses or ("completed", "failed", "expired", "cancelled")
    deadline = monotonic() + PATIENCE
    while batch.status not in wanted:
        assert monotonic() < deadline, f"{batch.status} instead of {wanted}"
        batch = client.batches.retrieve(batch.id)
    return batch


def errors(batch: Batch) -> list[BatchError]:
    """Why a batch failed its check."""
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.object == "list"
    return batch.errors.data or []


def until_ended(client: anthropic.Anthropic, batch: MessageBatch) -> MessageBatch:
    deadline = monotonic() + PATIENCE
    while batch.processing_status != "ended":
        assert monotonic() < deadline, batch.processing_status
        batch = client.messages.batches.retrieve(batch.id)
    return batch


def rows(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The rows of a result file; none if there is no such file."""
    if file_id is None:
        return []
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def results(client: anthropic.Anthropic, batch_id: str) -> list[MessageBatchIndividualResponse]:
    return list(client.messages.batches.results(batch_id))


def assert_exact(model: type[pydantic.BaseModel], data: Any) -> None:
    """`data` is what the vendor's SDK describes: nothing required missing, nothing unknown."""
    _no_extras(model.model_validate(data), model.__name__)


def _no_extras(value: Any, where: str) -> None:
    if isinstance(value, pydantic.BaseModel):
        assert not value.model_extra, f"{where}: unknown fields {sorted(value.model_extra)}"
        for name in type(value).model_fields:
            _no_extras(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _no_extras(item, f"{where}[{index}]")
