"""What a route is: its handler, and all that its description says of it.

The router, /openapi.json and docs/http-api.md are made of the same table (services.web.routes).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.web.errors import HttpError
from services.web.upstream import Engine

Handler = Callable[[Request, Engine], Awaitable[Response]]
Schema = Mapping[str, Any]


def described(**schema: Any) -> msgspec.Meta:
    """What a field of a body may hold, for its description; its handler checks it."""
    return msgspec.Meta(extra_json_schema=schema)


@dataclass(frozen=True)
class WholeNumber:
    """A whole number of the query, from 1 on, or from its default where that is less."""

    name: str
    default: int
    most: int

    @property
    def least(self) -> int:
        """The smallest that is taken."""
        return min(1, self.default)

    def read(self, request: Request) -> int:
        """Raises HttpError (400)."""
        text = request.query_params.get(self.name)
        if text is None:
            return self.default
        right = text.isascii() and text.isdigit() and len(text) <= 10
        if not (right and self.least <= int(text) <= self.most):
            raise HttpError(
                400,
                f"'{self.name}' has to be a whole number from 1 to {self.most}, not {text[:50]!r}.",
                "invalid_value",
                self.name,
            )
        return int(text)

    @property
    def schema(self) -> Schema:
        """In JSON Schema."""
        return {
            "type": "integer",
            "minimum": self.least,
            "maximum": self.most,
            "default": self.default,
        }

    @property
    def words(self) -> str:
        """In the documentation."""
        return f"to {self.most:,}" if self.least else ""


@dataclass(frozen=True)
class Choice:
    """One of some words of the query."""

    name: str
    choices: tuple[str, ...]
    default: str | None = None

    def read(self, request: Request) -> str | None:
        """Raises HttpError (400)."""
        text = request.query_params.get(self.name)
        if text is not None and text not in self.choices:
            raise HttpError(
                400,
                f"'{self.name}' has to be one of {', '.join(self.choices)}, not {text[:50]!r}.",
                "invalid_value",
                self.name,
            )
        return self.default if text is None else text

    @property
    def schema(self) -> Schema:
        """In JSON Schema."""
        given = {"default": self.default} if self.default else {}
        return {"type": "string", "enum": list(self.choices), **given}

    @property
    def words(self) -> str:
        """In the documentation."""
        return " or ".join(f"`{each}`" for each in self.choices)


@dataclass(frozen=True)
class Text:
    """A text of the query, such as the id that a list goes on behind."""

    name: str

    def read(self, request: Request) -> str | None:
        """None where it is left out, or empty."""
        return request.query_params.get(self.name) or None

    @property
    def schema(self) -> Schema:
        """In JSON Schema."""
        return {"type": "string"}

    @property
    def words(self) -> str:
        """In the documentation."""
        return ""


Query = WholeNumber | Choice | Text


@dataclass(frozen=True)
class FormBody:
    """A multipart form: the field of its file, and the others by name."""

    file: str
    fields: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamedBody:
    """JSON that is read while it comes."""

    schema: Schema


Body = type | FormBody | StreamedBody


@dataclass(frozen=True)
class Operation:
    """One method of one address."""

    method: str
    path: str
    """As Starlette has it."""
    handler: Handler
    summary: str
    """What it does, in the documentation."""
    answer: str
    """The name of a schema of services.web.shapes."""
    query: tuple[Query, ...] = ()
    body: Body | None = None
    """A type: a JSON object that is read as one."""
    optional_body: bool = False
    refusals: tuple[int, ...] = ()
    """Statuses beside those that any operation may answer with."""
    lines: bool = False
    """The answer is JSONL, each line one of `answer`."""
