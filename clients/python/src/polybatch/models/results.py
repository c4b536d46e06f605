"""Results of a batch. Fields are those of protos/polybatch/v1/results.proto."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from polybatch.errors import DataError, LineFailed

# The last key of a line.
_COST = re.compile(rb',\s*"cost":\s*(\d+(?:\.\d+)?)\s*\}\s*\Z')
_COST_WITHIN = 60


@dataclass(frozen=True, slots=True)
class LineResponse:
    """A provider's answer to one line."""

    status_code: int
    """HTTP status; 0 where the provider gave none."""
    request_id: str
    body: dict[str, Any]
    """In OpenAI's form, whatever the provider; of an answer that is none (`error` says why), as
    the provider gave it, empty where that is no object."""


@dataclass(frozen=True, slots=True)
class LineError:
    """Why one line failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ResultLine:
    """One line of the results: a response, or an error; both where the answer was one."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None
    """Of every line that is not `ok`."""
    attempts: int
    """How often the line was sent to its provider; 0 if never."""
    raw: bytes
    """The line as it came, without its newline."""
    model: str = ""
    """The one that was asked for, as the input names it; empty where it cannot be told."""
    dropped: tuple[str, ...] = ()
    """Paths of what was left out of the request, such as "body.seed"; lenient batches only."""
    cost: Decimal | None = None
    """In USD, of all attempts, exact to the nano-dollar; None where the model has no price, or the
    service does not reckon costs yet."""
    reused_from: str = ""
    """The `id` of the line whose answer it took (`reuse_answers`); empty where it was run."""

    @property
    def ok(self) -> bool:
        """Whether the line succeeded."""
        return (
            self.error is None
            and self.response is not None
            and 200 <= self.response.status_code < 300
        )

    @property
    def error_code(self) -> str | None:
        """The code of a failed line, never empty; None where the line succeeded."""
        return None if self.ok else self._failure().code

    @property
    def error_message(self) -> str | None:
        """Why a line failed, never empty; None where the line succeeded.

        It is that of `error`, or stands in the body of the provider's answer.
        """
        return None if self.ok else self._failure().message

    def raise_for_status(self) -> ResultLine:
        """Returns the line itself if it succeeded. LineFailed if not."""
        if self.ok:
            return self
        failure = self._failure()
        raise LineFailed(
            f"{self.custom_id}: {failure.message}",
            reason=failure.code,
            custom_id=self.custom_id,
            status_code=self.response.status_code if self.response is not None else 0,
        )

    def _failure(self) -> LineError:
        """Of a failed line, its code and message, both with a text in any case."""
        status = self.response.status_code if self.response is not None else 0
        found = self.error
        if found is None and self.response is not None:
            found = _error_of(self.response.body)
        code = (found.code if found is not None else "") or (
            f"http_{status}" if status else "unknown_error"
        )
        message = found.message.strip() if found is not None else ""
        if not message and status:
            message = f"the provider answered with HTTP status {status} and no message"
        return LineError(code, message or f"the line failed ({code}) and nothing says why")

    @property
    def text(self) -> str | None:
        """The text of the answer, whatever its endpoint; None where there is none.

        Of a chat completion or a completion it is that of the first choice.
        """
        match self.response.body if self.response is not None else None:
            case {"choices": [{"message": {"content": str(text)}}, *_]}:
                return text
            case {"choices": [{"text": str(text)}, *_]}:
                return text
            case {"object": "response", "output": list(items)}:
                messages = _objects(items, "message")
                return _joined(
                    part
                    for message in messages
                    for part in _objects(message.get("content"), "output_text")
                )
            case {"type": "message", "content": list(blocks)}:
                return _joined(_objects(blocks, "text"))
            case {"candidates": [{"content": {"parts": list(parts)}}, *_]}:
                return _joined(part for part in _objects(parts) if not part.get("thought"))
            case _:
                return None

    @property
    def embedding(self) -> list[float] | None:
        """The first vector of an embeddings response; None where there is none."""
        match self.response.body if self.response is not None else None:
            case {"data": [{"embedding": list(vector)}, *_]}:
                return vector
            case _:
                return None

    @classmethod
    def parse(cls, raw: bytes) -> ResultLine:
        """Builds it from a line of a result file. DataError if it is none."""
        try:
            line = json.loads(raw)
            response, error = line.get("response"), line.get("error")
            return cls(
                id=str(line.get("id", "")),
                custom_id=line["custom_id"],
                response=None if response is None else _response(response),
                error=None
                if error is None
                else LineError(str(error.get("code") or ""), str(error.get("message") or "")),
                attempts=int(line.get("attempts") or 0),
                raw=raw,
                reused_from=str(line.get("reused_from") or ""),
                model=str(line.get("model") or ""),
                dropped=tuple(map(str, line.get("dropped") or ())),
                cost=_cost(raw),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise DataError(
                f"a line of the results cannot be read ({problem!r}).",
                reason="RESULT_UNREADABLE",
            ) from problem


def _cost(raw: bytes) -> Decimal | None:
    """From the text itself: a JSON number would become a float."""
    found = _COST.search(raw, max(0, len(raw) - _COST_WITHIN))
    return Decimal(found[1].decode()) if found else None


def _response(response: dict[str, Any]) -> LineResponse:
    status, body = response.get("status_code"), response.get("body")
    return LineResponse(
        status_code=status if type(status) is int else 0,
        request_id=str(response.get("request_id") or ""),
        body=body if isinstance(body, dict) else {},
    )


def _objects(found: Any, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Of a list, the objects of one type."""
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict) and kind in (None, each.get("type")):
            yield each


def _joined(parts: Iterable[dict[str, Any]]) -> str | None:
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "".join(texts) if texts else None


def _error_of(body: Any) -> LineError | None:
    """The error in a provider's answer; None where its form is none of those known.

    `{"error": {"code" or "status" or "type", "message"}}` (OpenAI, Gemini, Anthropic),
    `{"error": "..."}` (Ollama), `{"object": "error", "message", "type"}` or `{"detail": ...}`
    (older vLLM, FastAPI).
    """
    match body:
        case {"error": str(message)} | {"detail": str(message)}:
            return LineError("", message)
        case {"error": {"message": str(message), **more}} | {"message": str(message), **more}:
            codes = (more.get(name) for name in ("code", "status", "type"))
            return LineError(next((code for code in codes if isinstance(code, str)), ""), message)
        case {"error": dict(error)} | {"detail": list(error)} if error:
            return LineError("", json.dumps(error))
    return None


@dataclass(frozen=True, slots=True)
class ResultsExtent:
    """How much there is of the results of a batch, or of a family of batches."""

    incomplete: bool
    """Lines are still to come."""
    line_count: int
    """Lines that follow."""
    settled_line_count: int
    """Lines of the batch that have their outcome."""
    complete_until_line: int
    """The line of the input up to which none is missing."""

    @classmethod
    def from_proto(cls, message: Any) -> ResultsExtent:
        """Builds it from polybatch.v1.ResultsHeader."""
        return cls(
            incomplete=message.incomplete,
            line_count=message.line_count,
            settled_line_count=message.settled_line_count,
            complete_until_line=message.complete_until_line,
        )
