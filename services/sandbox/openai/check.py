"""The check of a new OpenAI batch: what its file must be for the batch to run.

Codes and parameters are those of the fact sheet, section 7. What is wrong with a body
beyond that is no reason to fail the batch: such a line is run and answered with an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from services.sandbox.batch import Refusal
from services.sandbox.openai.lines import Body, Chat, Embedding, Line
from services.sandbox.openai.models import serves
from services.sandbox.openai.responses import Responses
from services.sandbox.openai.texts_and_images import (
    Completions,
    ImageEdits,
    ImageGenerations,
    Moderations,
)
from services.sandbox.plan import MARK, UNREADABLE, Plan, PlanWriter
from services.sandbox.store import read_blocks, split_lines
from services.sandbox.unique import UniqueIds

MAX_LINES = 50_000
MAX_EMBEDDING_INPUTS = 50_000
MISTRALS_MAX_LINES = 100_000
"""docs.mistral.ai, known limitations."""
BODIES: dict[str, type[Body]] = {
    "/v1/chat/completions": Chat,
    "/v1/embeddings": Embedding,
    "/v1/responses": Responses,
    "/v1/completions": Completions,
    "/v1/moderations": Moderations,
    "/v1/images/generations": ImageGenerations,
    "/v1/images/edits": ImageEdits,
}
"""The endpoints that the sandbox answers."""
ENDPOINTS = frozenset(
    {
        *BODIES,
        "/v1/completions",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/videos",
    }
)
"""The endpoints that the API has for batches."""
_NEEDED: dict[type[Body], tuple[str, ...]] = {
    Embedding: ("model", "input"),
    Responses: ("model", "input"),
    Completions: ("model", "prompt"),
    Moderations: ("input",),
    ImageGenerations: ("model", "prompt"),
    ImageEdits: ("model", "prompt", "images"),
}
"""Members without which the batch fails; of the endpoints other than chat completions."""

_line_of = msgspec.json.Decoder(Line).decode


class Refused(Exception):
    """The batch fails its check."""

    def __init__(self, refusals: list[Refusal]) -> None:
        super().__init__(refusals[0].message)
        self.refusals = refusals


async def check(
    path: Path, records: Path, endpoint: str, every_error: bool, *, any_model: bool = False
) -> Plan:
    """Read a batch's file through and plan its run. Raises Refused, with one refusal
    or (with `every_error`) all of them.

    `any_model`: models need not be OpenAI's, and the limits are Mistral's.
    """
    writer = PlanWriter(path, records)
    scan = _Scan(endpoint, writer, every_error, any_model)
    try:
        for offset, block in read_blocks(path):
            scan.block(offset, block)
            if scan.count > scan.most_lines:
                break
            await asyncio.sleep(0)
        scan.end(path)
    except BaseException:
        writer.abandon()
        raise
    return writer.finish()


class _Scan:
    def __init__(
        self, endpoint: str, writer: PlanWriter, every_error: bool, any_model: bool
    ) -> None:
        self._any_model = any_model
        self.most_lines = MISTRALS_MAX_LINES if any_model else MAX_LINES
        self._endpoint = endpoint
        self._body_of = msgspec.json.Decoder(BODIES[endpoint]).decode
        self._writer = writer
        self._every_error = every_error
        self._refusals: list[Refusal] = []
        self._ids = UniqueIds()
        self._model = ""
        self._number = 0
        self._inputs = 0

    @property
    def count(self) -> int:
        """Lines read so far."""
        return self._number

    def block(self, offset: int, block: bytes) -> None:
        writer, ids, endpoint = self._writer, self._ids, self._endpoint
        marked = MARK in block
        for raw in split_lines(block):
            self._number += 1
            body: Body | None
            try:
                line = _line_of(raw)
                body = self._body_of(line.body)
            except UNREADABLE:
                slow = self._look_closely(raw)
                if slow is None:
                    continue
                line, body = slow
            if line.url != endpoint:
                self._refuse(
                    "invalid_url",
                    f"The URL provided for this request does not match the batch endpoint: "
                    f"expected '{endpoint}', got '{line.url}'.",
                    "url",
                )
                continue
            ids.add(line.custom_id)
            digest = int.from_bytes(blake2b(line.body, digest_size=8).digest(), "little")
            if body is None:
                writer.add(digest, self._model, 0, 0)
                writer.refuse()
                continue
            if body.model != self._model and not self._right_model(body.model):
                continue
            if isinstance(body, Embedding):
                self._inputs += len(body.texts)
                writer.add(digest, body.model, body.tokens, 0)
            else:
                writer.add(digest, body.model, *body.measure(body.question))
            if marked and MARK in raw:
                writer.mark(raw, digest)
        writer.end_block(offset, len(block))

    def end(self, path: Path) -> None:
        """Whole-file checks. Raises Refused for whatever was wrong."""
        if not self._number:
            self._refuse("empty_file", "The batch input file is empty.", None, line=None)
        if self._number > self.most_lines:
            self._refuse(
                "too_many_tasks",
                f"The batch has more than {self.most_lines} requests.",
                None,
                line=None,
            )
        if self._inputs > MAX_EMBEDDING_INPUTS and not self._any_model:
            self._refuse(
                "too_many_tasks",
                f"The batch has {self._inputs} embedding inputs; at most "
                f"{MAX_EMBEDDING_INPUTS} are allowed.",
                None,
                line=None,
            )
        repeated = self._ids.repeated()
        if repeated:
            self._refusals.extend(_duplicates(path, repeated))
            self._refusals.sort(key=lambda refusal: refusal.line or 0)
        if self._refusals:
            raise Refused(self._refusals if self._every_error else self._refusals[:1])

    def _refuse(self, code: str, message: str, param: str | None, line: int | None = -1) -> None:
        self._refusals.append(Refusal(code, message, param, self._number if line == -1 else line))

    def _right_model(self, model: str) -> bool:
        """Whether a model other than the lines' so far may be: only the first, if known."""
        if self._model:
            self._refuse(
                "mismatched_model",
                f"The provided model '{model}' does not match the model '{self._model}' of the "
                f"batch: all requests of a batch must be for the same model.",
                "body.model",
            )
            return False
        self._model = model
        if self._any_model:
            return True
        if not serves(model, BODIES[self._endpoint]):
            self._refuse(
                "model_not_found",
                f"The provided model '{model}' is not supported by the Batch API.",
                "body.model",
            )
            return False
        return True

    def _look_closely(self, raw: bytes) -> tuple[Line, None] | None:
        """Say what is wrong with a line. Returns it if that costs only this line."""
        try:
            line: Any = msgspec.json.decode(raw)
        except UNREADABLE:
            self._refuse("invalid_json_line", "This line is not parseable as valid JSON.", None)
            return None
        if not isinstance(line, dict):
            self._refuse("invalid_json_line", "This line is not a JSON object.", None)
            return None
        for name in ("custom_id", "method", "url", "body"):
            if line.get(name) in (None, ""):
                self._refuse(
                    "missing_required_parameter", f"Missing required parameter: '{name}'.", name
                )
                return None
        if line["method"] != "POST":
            self._refuse("invalid_method", "The method must be 'POST'.", "method")
            return None
        body = line["body"]
        for name, kind in (("custom_id", str), ("url", str), ("body", dict)):
            if not isinstance(line[name], kind):
                self._refuse("invalid_request", f"'{name}' has the wrong type.", name)
                return None
        for name in _NEEDED.get(BODIES[self._endpoint], ("model", "messages")):
            if not body.get(name):
                self._refuse(
                    "invalid_request", f"Missing required parameter: '{name}'.", f"body.{name}"
                )
                return None
        if body.get("stream") is True:
            self._refuse(
                "streaming_unsupported", "Streaming is not supported in batches.", "body.stream"
            )
            return None
        model = body.get("model", self._model)
        if not isinstance(model, str):
            self._refuse("invalid_request", "'model' has the wrong type.", "body.model")
            return None
        if line["url"] == self._endpoint and model != self._model and not self._right_model(model):
            return None
        return _line_of(raw), None


def _duplicates(path: Path, repeated: set[int]) -> Iterator[Refusal]:
    """A second reading of a file known to repeat ids, to name the lines."""
    seen: set[int] = set()
    number = 0
    for _, block in read_blocks(path):
        for raw in split_lines(block):
            number += 1
            try:
                custom_id = _line_of(raw).custom_id
            except UNREADABLE:
                continue
            value = hash(custom_id)
            if value in seen:
                yield Refusal(
                    "duplicate_custom_id",
                    f"The custom_id '{custom_id}' for this request is a duplicate of another "
                    f"request. The custom_id parameter must be unique for each request.",
                    "custom_id",
                    number,
                )
            elif value in repeated:
                seen.add(value)
